// Everything that the cloud side of object_pose needs, in one resource group:
//   az deployment group create --resource-group RG --template-file deploy/azure/main.bicep --parameters deploy/azure/main.bicepparam
// Nothing here has a stored key: the API, the training jobs and the workflows of the repository sign in with managed identities.
targetScope = 'resourceGroup'

@description('Prefix of all names, in lower case.')
@minLength(3)
@maxLength(12)
param prefix string = 'objectpose'

@description('Region of all resources.')
param location string = resourceGroup().location

@description('Image of the HTTP API, with its digest.')
param image string

@description('The JSON of tokens.json: the hashes of tokens that object-pose tokens create made.')
@secure()
param tokens string

@description('Repository whose workflows may deploy, OWNER/NAME.')
param repository string

@description('Size of the virtual machines that train.')
param trainingSize string = 'Standard_NC4as_T4_v3'

@description('Most virtual machines that train at a time; none while nothing trains.')
@minValue(1)
@maxValue(32)
param trainingNodes int = 4

@description('Who is told of alerts.')
param alertEmail string

var tags = {
  application: 'object_pose'
}

module identity 'modules/identity.bicep' = {
  name: 'identity'
  params: {
    prefix: prefix
    location: location
    repository: repository
    tags: tags
  }
}

module data 'modules/data.bicep' = {
  name: 'data'
  params: {
    prefix: prefix
    location: location
    principalId: identity.outputs.trainingPrincipalId
    tags: tags
  }
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'monitoring'
  params: {
    prefix: prefix
    location: location
    alertEmail: alertEmail
    tags: tags
  }
}

module learning 'modules/learning.bicep' = {
  name: 'learning'
  params: {
    prefix: prefix
    location: location
    storageId: data.outputs.storageId
    insightsId: monitoring.outputs.insightsId
    trainingIdentityId: identity.outputs.trainingId
    trainingPrincipalId: identity.outputs.trainingPrincipalId
    deploymentPrincipalId: identity.outputs.deploymentPrincipalId
    trainingSize: trainingSize
    trainingNodes: trainingNodes
    tags: tags
  }
}

module app 'modules/app.bicep' = {
  name: 'app'
  params: {
    prefix: prefix
    location: location
    image: image
    tokens: tokens
    workspaceName: monitoring.outputs.workspaceName
    actionGroupId: monitoring.outputs.actionGroupId
    appIdentityId: identity.outputs.appId
    deploymentPrincipalId: identity.outputs.deploymentPrincipalId
    tags: tags
  }
}

output url string = app.outputs.url
output learningWorkspace string = learning.outputs.workspaceName
output dataStore string = data.outputs.storageName
output deploymentClientId string = identity.outputs.deploymentClientId
