package rbac

// Ids of the built-in roles; the same in every Azure tenant.
const (
	Owner                     = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
	Contributor               = "b24988ac-6180-42a0-ab88-20f7382dd24c"
	Reader                    = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	UserAccessAdministrator   = "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9"
	RBACAdministrator         = "f58310d9-a9f6-439a-9e8d-f62e7b41a168"
	MonitoringReader          = "43d0d8ad-25c7-4714-9337-8ba259a9fe05"
	BlobDataOwner             = "b7e6dc6d-f1e8-4753-8033-0f276bb0955b"
	BlobDataContributor       = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"
	BlobDataReader            = "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"
	BlobDelegator             = "db58b8e5-c6ad-4a2a-8342-4190687cbf4a"
	StorageAccountContributor = "17d1049b-9a84-46fb-8f53-869881c3d3ab"
	StorageKeyOperator        = "81a9662b-bebf-436f-a333-f67b29880f12"
	ReaderAndDataAccess       = "c12c1c16-33a1-487b-954d-41c89c60f349"
	AcrPull                   = "7f951dda-4ed3-4680-a7ca-43fe172d538d"
	AcrPush                   = "8311e382-0749-4cb8-b61a-304f252e45ec"
	AcrDelete                 = "c2f4ef07-c644-48eb-af81-4b1b4947fb11"
	AcrImageSigner            = "6cef56e8-d556-48e5-a04f-b8e64114680f"
	RepositoryReader          = "b93aa761-3e63-49ed-ac28-beffa264f7ac"
	RepositoryWriter          = "2a1e307c-b015-4ebd-883e-5b7698a07328"
	RepositoryContributor     = "2efddaa5-3f1f-4df3-97df-af3f13818f4c"
	MLDataScientist           = "f6c7c914-8db3-469d-8ca1-694a8f32e121"
	MLComputeOperator         = "e503ece1-11d0-4e8e-8e2c-7a6c3bf38815"
	MLMetricsWriter           = "635dd51f-9968-44d3-b7fb-6d9a6bd613ae"
	MLRegistryUser            = "1823dd4f-9b8c-4ab6-ab4e-7397a3684615"
	MLConnectionSecretsReader = "ea01e6af-a1c1-4350-9563-ad00f8c72ec5"
	AIDeveloper               = "64702f94-c441-49e6-a78b-ef80e0188fee"
	IdentityContributor       = "e40ec5ca-96e0-45a2-b4ff-59039f2c2b59"
	IdentityOperator          = "f1a07417-d97a-45cb-824c-7a7467783830"
	VaultSecretsUser          = "4633458b-17de-408a-b874-0445c86b69e6"
	VaultSecretsOfficer       = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7"
	VaultReader               = "21090545-7ca7-4776-b22c-e363652d74d2"
	VaultAdministrator        = "00482a5a-887f-4fb3-b363-3b7fe8e74483"
)

// Resource types that the table below repeats.
const (
	storageAccount = "Microsoft.Storage/storageAccounts/"
	blobService    = storageAccount + "blobServices/"
	// Delegate is the action that gives user delegation keys.
	Delegate     = blobService + "generateUserDelegationKey/action"
	containers   = blobService + "containers/"
	blobs        = containers + "blobs/"
	registries   = "Microsoft.ContainerRegistry/registries/"
	repositories = registries + "repositories/"
	mlServices   = "Microsoft.MachineLearningServices/"
	workspaces   = mlServices + "workspaces/"
	identities   = "Microsoft.ManagedIdentity/userAssignedIdentities/"
	federated    = identities + "federatedIdentityCredentials/"
	vaults       = "Microsoft.KeyVault/vaults/"
	cognitive    = "Microsoft.CognitiveServices/accounts/"
)

// BuiltInRoles returns the roles that every tenant has, in a fresh slice. Ids
// and permissions are Azure's; AcrPull and its kin grant control-plane actions
// although a data plane enforces them.
func BuiltInRoles() []Role {
	groups := [][]Role{generalRoles(), storageRoles(), registryRoles(), mlRoles(), identityRoles(), vaultRoles()}
	var all []Role
	for _, group := range groups {
		all = append(all, group...)
	}
	return all
}

// builtIn makes a role of one permission block.
func builtIn(id, name, description string, p Permission) Role {
	return Role{
		ID: id, Name: name, Description: description, Type: BuiltIn,
		AssignableScopes: []string{"/"}, Permissions: []Permission{p},
	}
}

func generalRoles() []Role {
	return []Role{
		builtIn(Owner, "Owner", "Everything on every resource, giving roles to others included.",
			Permission{Actions: []string{"*"}}),
		builtIn(Contributor, "Contributor", "Everything on every resource, but no say in who may do what.",
			Permission{Actions: []string{"*"}, NotActions: []string{
				"Microsoft.Authorization/*/Delete", "Microsoft.Authorization/*/Write",
				"Microsoft.Authorization/elevateAccess/Action",
				"Microsoft.Blueprint/blueprintAssignments/write", "Microsoft.Blueprint/blueprintAssignments/delete",
				"Microsoft.Compute/galleries/share/action",
				"Microsoft.Purview/consents/write", "Microsoft.Purview/consents/delete",
				"Microsoft.Resources/deploymentStacks/manageDenySetting/action",
				"Microsoft.Subscription/cancel/action", "Microsoft.Subscription/enable/action",
			}}),
		builtIn(Reader, "Reader", "Sees every resource, changes none, reads no keys.",
			Permission{Actions: []string{"*/read"}}),
		builtIn(UserAccessAdministrator, "User Access Administrator", "Gives and takes away access of every form.",
			Permission{Actions: []string{"*/read", "Microsoft.Authorization/*", "Microsoft.Support/*"}}),
		builtIn(RBACAdministrator, "Role Based Access Control Administrator", "Gives and takes away roles, and nothing else.",
			Permission{Actions: []string{WriteAssignments, DropAssignments, "*/read", "Microsoft.Support/*"}}),
		builtIn(MonitoringReader, "Monitoring Reader", "Sees metrics, logs and everything else that is monitored.",
			Permission{Actions: []string{"*/read", "Microsoft.OperationalInsights/workspaces/search/action", "Microsoft.Support/*"}}),
	}
}

func storageRoles() []Role {
	return []Role{
		builtIn(BlobDataOwner, "Storage Blob Data Owner", "All of the blobs and containers of an account, ownership and access lists included.",
			Permission{Actions: []string{containers + "*", Delegate}, DataActions: []string{blobs + "*"}}),
		builtIn(BlobDataContributor, "Storage Blob Data Contributor", "Reads, writes and deletes blobs and containers.",
			Permission{
				Actions:     []string{containers + "delete", containers + "read", containers + "write", Delegate},
				DataActions: []string{blobs + "delete", blobs + "read", blobs + "write", blobs + "move/action", blobs + "add/action"},
			}),
		builtIn(BlobDataReader, "Storage Blob Data Reader", "Reads and lists blobs and containers.",
			Permission{Actions: []string{containers + "read", Delegate}, DataActions: []string{blobs + "read"}}),
		builtIn(BlobDelegator, "Storage Blob Delegator", "Asks for the key that signs user delegation SAS tokens.",
			Permission{Actions: []string{Delegate}}),
		builtIn(StorageAccountContributor, "Storage Account Contributor", "Manages storage accounts and reads their keys, and with them all data.",
			Permission{Actions: []string{
				"Microsoft.Authorization/*/read", "Microsoft.Insights/alertRules/*", "Microsoft.Insights/diagnosticSettings/*",
				"Microsoft.Network/virtualNetworks/subnets/joinViaServiceEndpoint/action",
				"Microsoft.ResourceHealth/availabilityStatuses/read", "Microsoft.Resources/deployments/*",
				"Microsoft.Resources/subscriptions/resourceGroups/read", storageAccount + "*", "Microsoft.Support/*",
			}}),
		builtIn(StorageKeyOperator, "Storage Account Key Operator Service Role", "Reads and renews the keys of storage accounts.",
			Permission{Actions: []string{storageAccount + "listkeys/action", storageAccount + "regeneratekey/action"}}),
		builtIn(ReaderAndDataAccess, "Reader and Data Access", "Sees storage accounts and reads their keys, and with them all data.",
			Permission{Actions: []string{storageAccount + "listKeys/action", storageAccount + "ListAccountSas/action", storageAccount + "read"}}),
	}
}

func registryRoles() []Role {
	pull := registries + "pull/read"
	read := []string{repositories + "metadata/read", repositories + "content/read"}
	write := append(read[:2:2], repositories+"metadata/write", repositories+"content/write")
	remove := append(write[:4:4], repositories+"metadata/delete", repositories+"content/delete")
	return []Role{
		builtIn(AcrPull, "AcrPull", "Pulls images from a registry.", Permission{Actions: []string{pull}}),
		builtIn(AcrPush, "AcrPush", "Pushes images to a registry, and pulls them.", Permission{Actions: []string{pull, registries + "push/write"}}),
		builtIn(AcrDelete, "AcrDelete", "Deletes what a registry holds.", Permission{Actions: []string{registries + "artifacts/delete"}}),
		builtIn(AcrImageSigner, "AcrImageSigner", "Signs images for content trust, which Azure ends in March 2028.",
			Permission{Actions: []string{registries + "sign/write"}, DataActions: []string{registries + "trustedCollections/write"}}),
		builtIn(RepositoryReader, "Container Registry Repository Reader", "Reads repositories, without listing the catalog.",
			Permission{DataActions: read}),
		builtIn(RepositoryWriter, "Container Registry Repository Writer", "Reads and writes repositories, without listing the catalog.",
			Permission{DataActions: write}),
		builtIn(RepositoryContributor, "Container Registry Repository Contributor", "Reads, writes and deletes repositories, without listing the catalog.",
			Permission{DataActions: remove}),
	}
}

func mlRoles() []Role {
	all := []string{workspaces + "*/read", workspaces + "*/action", workspaces + "*/delete", workspaces + "*/write"}
	return []Role{
		builtIn(MLDataScientist, "AzureML Data Scientist", "Works inside a workspace, without changing the workspace or its compute.",
			Permission{Actions: all, NotActions: []string{
				workspaces + "delete", workspaces + "write",
				workspaces + "computes/*/write", workspaces + "computes/*/delete", workspaces + "computes/listKeys/action",
				workspaces + "listKeys/action", workspaces + "hubs/write", workspaces + "hubs/delete",
				workspaces + "featurestores/write", workspaces + "featurestores/delete",
			}}),
		builtIn(MLComputeOperator, "AzureML Compute Operator", "Makes, uses and removes the managed compute of a workspace.",
			Permission{Actions: []string{workspaces + "computes/*", workspaces + "notebooks/vm/*"}}),
		builtIn(MLMetricsWriter, "AzureML Metrics Writer (preview)", "Writes metrics to a workspace.",
			Permission{Actions: []string{workspaces + "metrics/*/write"}}),
		builtIn(MLRegistryUser, "AzureML Registry User", "Sees machine learning registries and does everything with their assets.",
			Permission{Actions: []string{mlServices + "registries/read", mlServices + "registries/assets/*"}}),
		builtIn(MLConnectionSecretsReader, "Azure Machine Learning Workspace Connection Secrets Reader", "Reads the secrets of a workspace's connections.",
			Permission{Actions: []string{workspaces + "connections/listsecrets/action", workspaces + "metadata/secrets/read"}}),
		builtIn(AIDeveloper, "Azure AI Developer", "Works inside a workspace and calls its AI services, without managing the workspace.",
			Permission{
				Actions: append(all[:4:4], mlServices+"locations/*/read", "Microsoft.Authorization/*/read", "Microsoft.Resources/deployments/*"),
				NotActions: []string{
					workspaces + "delete", workspaces + "write", workspaces + "listKeys/action",
					workspaces + "hubs/write", workspaces + "hubs/delete",
					workspaces + "featurestores/write", workspaces + "featurestores/delete",
					workspaces + "evaluations/results/labels/read", workspaces + "evaluations/results/reasonings/read",
					workspaces + "simulations/results/images/read",
				},
				DataActions:    []string{cognitive + "OpenAI/*", cognitive + "SpeechServices/*", cognitive + "ContentSafety/*", cognitive + "MaaS/*"},
				NotDataActions: []string{cognitive + "OpenAI/fine-tunes-deployments/write"},
			}),
	}
}

func identityRoles() []Role {
	common := []string{
		"Microsoft.Authorization/*/read", "Microsoft.Insights/alertRules/*",
		"Microsoft.Resources/subscriptions/resourceGroups/read", "Microsoft.Resources/deployments/*", "Microsoft.Support/*",
	}
	return []Role{
		builtIn(IdentityContributor, "Managed Identity Contributor", "Makes, changes and removes user-assigned identities.",
			Permission{Actions: append([]string{
				identities + "read", identities + "write", identities + "delete",
				federated + "read", federated + "write", federated + "delete",
				identities + "revokeTokens/action",
			}, common...)}),
		builtIn(IdentityOperator, "Managed Identity Operator", "Sees user-assigned identities and gives them to resources.",
			Permission{Actions: append([]string{identities + "*/read", identities + "*/assign/action"}, common...)}),
	}
}

func vaultRoles() []Role {
	see := []string{
		"Microsoft.Authorization/*/read", "Microsoft.Insights/alertRules/*",
		"Microsoft.Resources/subscriptions/resourceGroups/read", "Microsoft.Support/*",
		"Microsoft.KeyVault/checkNameAvailability/read", "Microsoft.KeyVault/deletedVaults/read",
		"Microsoft.KeyVault/locations/*/read", vaults + "*/read", "Microsoft.KeyVault/operations/read",
	}
	manage := append(see[:len(see):len(see)], "Microsoft.Resources/deployments/*")
	return []Role{
		builtIn(VaultSecretsUser, "Key Vault Secrets User", "Reads the secrets of a vault.",
			Permission{DataActions: []string{vaults + "secrets/getSecret/action", vaults + "secrets/readMetadata/action"}}),
		builtIn(VaultSecretsOfficer, "Key Vault Secrets Officer", "Does everything with the secrets of a vault, except giving access.",
			Permission{Actions: manage, DataActions: []string{vaults + "secrets/*"}}),
		builtIn(VaultReader, "Key Vault Reader", "Sees vaults and what they hold, but no secret's content.",
			Permission{Actions: see, DataActions: []string{vaults + "*/read", vaults + "secrets/readMetadata/action"}}),
		builtIn(VaultAdministrator, "Key Vault Administrator", "Does everything inside a vault, except giving access.",
			Permission{Actions: manage, DataActions: []string{vaults + "*"}}),
	}
}
