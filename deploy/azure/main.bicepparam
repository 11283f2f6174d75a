using 'main.bicep'

param image = readEnvironmentVariable('IMAGE')
param tokens = readEnvironmentVariable('TOKENS')
param repository = readEnvironmentVariable('REPOSITORY')
param alertEmail = readEnvironmentVariable('ALERT_EMAIL')
