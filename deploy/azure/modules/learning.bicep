// Azure Machine Learning: workspace, its registry of models, and a cluster that trains and goes away.
param prefix string
param location string
param storageId string
param insightsId string
param trainingIdentityId string
param trainingPrincipalId string
param deploymentPrincipalId string
param trainingSize string
param trainingNodes int
param tags object

var dataScientist = 'f6c7c914-8db3-469d-8ca1-694a8f32e121'

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' = {
  name: take('${prefix}-${uniqueString(resourceGroup().id)}', 24)
  location: location
  tags: tags
  properties: {
    sku: {
      family: 'A'
      name: 'standard'
    }
    tenantId: subscription().tenantId
    enableRbacAuthorization: true
    enablePurgeProtection: true
  }
}

resource images 'Microsoft.ContainerRegistry/registries@2023-07-01' = {
  name: take('${prefix}${uniqueString(resourceGroup().id)}', 50)
  location: location
  tags: tags
  sku: {
    name: 'Standard'
  }
  properties: {
    adminUserEnabled: false
  }
}

resource workspace 'Microsoft.MachineLearningServices/workspaces@2024-10-01' = {
  name: '${prefix}-learning'
  location: location
  tags: tags
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    friendlyName: 'object_pose'
    storageAccount: storageId
    keyVault: vault.id
    applicationInsights: insightsId
    containerRegistry: images.id
    systemDatastoresAuthMode: 'identity'
  }

  resource cluster 'computes' = {
    name: 'training'
    location: location
    identity: {
      type: 'UserAssigned'
      userAssignedIdentities: {
        '${trainingIdentityId}': {}
      }
    }
    properties: {
      computeType: 'AmlCompute'
      properties: {
        vmSize: trainingSize
        vmPriority: 'LowPriority'
        scaleSettings: {
          minNodeCount: 0
          maxNodeCount: trainingNodes
          nodeIdleTimeBeforeScaleDown: 'PT10M'
        }
        remoteLoginPortPublicAccess: 'Disabled'
      }
    }
  }
}

resource access 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for principalId in [trainingPrincipalId, deploymentPrincipalId]: {
    name: guid(workspace.id, principalId, dataScientist)
    scope: workspace
    properties: {
      principalId: principalId
      principalType: 'ServicePrincipal'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', dataScientist)
    }
  }
]

output workspaceName string = workspace.name
