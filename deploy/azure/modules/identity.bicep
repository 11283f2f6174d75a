// Who signs in as whom: the API, the training jobs, and the workflows of the repository (by a federated credential).
param prefix string
param location string
param repository string
param tags object

resource appIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: '${prefix}-app'
  location: location
  tags: tags
}

resource trainingIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: '${prefix}-training'
  location: location
  tags: tags
}

resource deploymentIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: '${prefix}-deployment'
  location: location
  tags: tags

  resource credential 'federatedIdentityCredentials' = {
    name: 'github'
    properties: {
      issuer: 'https://token.actions.githubusercontent.com'
      subject: 'repo:${repository}:environment:azure'
      audiences: [
        'api://AzureADTokenExchange'
      ]
    }
  }
}

output appId string = appIdentity.id
output trainingId string = trainingIdentity.id
output trainingPrincipalId string = trainingIdentity.properties.principalId
output deploymentPrincipalId string = deploymentIdentity.properties.principalId
output deploymentClientId string = deploymentIdentity.properties.clientId
