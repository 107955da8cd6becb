package definition

// What azure-ai-ml takes in the definitions of online endpoints and their
// deployments (version 1.35).

func readOnly() Field { return Field{ReadOnly: true} }

func networkAccess() Field { return Field{Enum: []string{"enabled", "disabled"}} }

// Endpoint returns the fields of an online endpoint.
func Endpoint() Fields {
	return Fields{
		"name":        {Required: true},
		"description": {},
		"tags":        {Kind: Texts},
		"properties":  {Kind: Texts},
		"auth_mode":   {Enum: []string{"key", "aml_token", "aad_token"}},
		"identity": {Kind: Object, Fields: Fields{
			"type": {Required: true, Enum: []string{"system_assigned", "user_assigned", "system_assigned,user_assigned", "none"}},
			"user_assigned_identities": {Kind: List, Fields: Fields{"": {Kind: Object, Fields: Fields{
				"resource_id":  {Required: true},
				"client_id":    readOnly(),
				"principal_id": readOnly(),
				"object_id":    readOnly(),
			}}}},
			"principal_id": readOnly(),
			"tenant_id":    readOnly(),
		}},
		"traffic":               {Kind: Ints, Min: 0, Max: 100},
		"mirror_traffic":        {Kind: Ints, Min: 0, Max: 50},
		"public_network_access": networkAccess(),
		"compute":               {},
		"location":              {},
		"defaults":              {Kind: Anything},
		"id":                    readOnly(),
		"kind":                  readOnly(),
		"provisioning_state":    readOnly(),
		"scoring_uri":           readOnly(),
		"openapi_uri":           readOnly(),
	}
}

func probe() Field {
	return Field{Kind: Object, Fields: Fields{
		"initial_delay":     {Kind: Int},
		"period":            {Kind: Int},
		"timeout":           {Kind: Int},
		"success_threshold": {Kind: Int},
		"failure_threshold": {Kind: Int},
	}}
}

func route() Field {
	return Field{Kind: Object, Required: true, Fields: Fields{"port": {Kind: Int, Required: true}, "path": {Required: true}}}
}

// Model returns the fields of a model.
func Model() Fields {
	return Fields{
		"name":        {},
		"version":     {},
		"path":        {Required: true},
		"type":        {Enum: []string{"custom_model", "mlflow_model", "triton_model"}},
		"description": {},
		"tags":        {Kind: Texts},
		"properties":  {Kind: Texts},
		"stage":       {},
		"flavors":     {Kind: Anything},
		"datastore":   {},
		"id":          readOnly(),
	}
}

// Environment returns the fields of an environment.
func Environment() Fields {
	return Fields{
		"name":        {},
		"version":     {},
		"image":       {},
		"conda_file":  {Kind: Anything},
		"build":       {Kind: Object, Fields: Fields{"path": {Required: true}, "dockerfile_path": {}}},
		"description": {},
		"tags":        {Kind: Texts},
		"properties":  {Kind: Texts},
		"os_type":     {Enum: []string{"linux", "windows"}},
		"datastore":   {},
		"inference_config": {Kind: Object, Fields: Fields{
			"liveness_route": route(), "readiness_route": route(), "scoring_route": route(),
		}},
		"id": readOnly(),
	}
}

// Deployment returns the fields of an online deployment.
func Deployment() Fields {
	quantity := Field{Kind: Object, Fields: Fields{"cpu": {}, "memory": {}, "nvidia.com/gpu": {}}}
	return Fields{
		"name":                  {Required: true},
		"endpoint_name":         {Required: true},
		"description":           {},
		"tags":                  {Kind: Texts},
		"properties":            {Kind: Texts},
		"model":                 {Kind: Reference, Fields: Model()},
		"environment":           {Kind: Reference, Fields: Environment()},
		"code_configuration":    {Kind: Object, Fields: Fields{"code": {}, "scoring_script": {}}},
		"environment_variables": {Kind: Texts},
		"app_insights_enabled":  {Kind: Bool},
		"scale_settings": {Kind: Object, Fields: Fields{
			"type":                          {Required: true, Enum: []string{"default", "target_utilization"}},
			"polling_interval":              {Kind: Int},
			"target_utilization_percentage": {Kind: Int, Min: 1, Max: 100},
			"min_instances":                 {Kind: Int},
			"max_instances":                 {Kind: Int},
		}},
		"request_settings": {Kind: Object, Fields: Fields{
			"request_timeout_ms":                   {Kind: Int},
			"max_concurrent_requests_per_instance": {Kind: Int},
			"max_queue_wait_ms":                    {Kind: Int},
		}},
		"liveness_probe":               probe(),
		"readiness_probe":              probe(),
		"instance_count":               {Kind: Int},
		"instance_type":                {},
		"type":                         {Enum: []string{"managed", "kubernetes"}},
		"model_mount_path":             {},
		"resources":                    {Kind: Object, Fields: Fields{"requests": quantity, "limits": quantity}},
		"data_collector":               {Kind: Anything},
		"egress_public_network_access": networkAccess(),
		"private_network_connection":   {Kind: Bool},
		"id":                           readOnly(),
		"provisioning_state":           readOnly(),
		"creation_context":             readOnly(),
	}
}
