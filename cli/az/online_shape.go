package az

import (
	"slices"
	"strings"

	"lapis/armid"
)

// The two shapes of an online endpoint and of a deployment: as the wire has
// them, and as files and results have them. The names of the second are those
// of azure-ai-ml.

// pairs of words that differ beyond their case.
type wordPair struct{ wire, shown string }

func authModes() []wordPair {
	return []wordPair{{"Key", "key"}, {"AMLToken", "aml_token"}, {"AADToken", "aad_token"}}
}

func identityTypes() []wordPair {
	return []wordPair{{"SystemAssigned", "system_assigned"}, {"UserAssigned", "user_assigned"},
		{"SystemAssigned,UserAssigned", "system_assigned,user_assigned"}, {"None", "none"}}
}

func scaleTypes() []wordPair {
	return []wordPair{{"Default", "default"}, {"TargetUtilization", "target_utilization"}}
}

func toShown(pairs []wordPair, wire string) any {
	if wire == "" {
		return nil
	}
	for _, p := range pairs {
		if strings.EqualFold(p.wire, strings.ReplaceAll(wire, " ", "")) {
			return p.shown
		}
	}
	return wire
}

func toWire(pairs []wordPair, shown string) string {
	for _, p := range pairs {
		if strings.EqualFold(p.shown, shown) {
			return p.wire
		}
	}
	return shown
}

// prune takes out what is nil.
func prune(o object) object {
	for name, value := range o {
		if value == nil {
			delete(o, name)
		}
	}
	return o
}

func lowered(v any) any {
	if s, ok := v.(string); ok {
		return strings.ToLower(s)
	}
	return nil
}

// orEmpty gives an object where the wire had none.
func orEmpty(v any) any {
	if v == nil {
		return object{}
	}
	return v
}

func showEndpoint(e object) object {
	properties := object{}
	for name, value := range child(e, "properties.properties") {
		properties[name] = value
	}
	for _, name := range []string{"createdBy", "createdAt", "lastModifiedAt"} {
		if v := at(e, "systemData."+name); v != nil {
			properties[name] = v
		}
	}
	return withGroup(prune(object{
		"id": e["id"], "name": e["name"], "location": e["location"], "kind": orKind(e), "tags": orEmpty(e["tags"]),
		"description": at(e, "properties.description"), "auth_mode": toShown(authModes(), text(e, "properties.authMode")),
		"compute": at(e, "properties.compute"), "identity": showIdentity(child(e, "identity")),
		"provisioning_state": at(e, "properties.provisioningState"), "scoring_uri": at(e, "properties.scoringUri"),
		"openapi_uri": at(e, "properties.swaggerUri"), "public_network_access": lowered(at(e, "properties.publicNetworkAccess")),
		"traffic": orEmpty(at(e, "properties.traffic")), "mirror_traffic": orEmpty(at(e, "properties.mirrorTraffic")),
		"properties": properties,
	}))
}

func orKind(e object) any {
	if e["kind"] != nil {
		return e["kind"]
	}
	return "Managed"
}

func showIdentity(identity object) any {
	if identity == nil {
		return nil
	}
	shown := prune(object{"type": toShown(identityTypes(), text(identity, "type")), "principal_id": identity["principalId"], "tenant_id": identity["tenantId"]})
	ids := child(identity, "userAssignedIdentities")
	if len(ids) == 0 {
		return shown
	}
	names := make([]string, 0, len(ids))
	for id := range ids {
		names = append(names, id)
	}
	slices.Sort(names)
	list := []any{}
	for _, id := range names {
		one, _ := ids[id].(object)
		list = append(list, object{"resource_id": id, "client_id": one["clientId"], "principal_id": one["principalId"]})
	}
	shown["user_assigned_identities"] = list
	return shown
}

// wireEndpoint makes the body of a PUT from a checked definition.
func wireEndpoint(d object, location string) object {
	mode := "Key"
	if m := text(d, "auth_mode"); m != "" {
		mode = toWire(authModes(), m)
	}
	properties := prune(object{
		"authMode": mode, "properties": orEmpty(d["properties"]), "traffic": withoutZeros(d["traffic"]), "mirrorTraffic": withoutZeros(d["mirror_traffic"]),
		"description": d["description"], "publicNetworkAccess": d["public_network_access"],
	})
	if compute := strings.TrimPrefix(text(d, "compute"), "azureml:"); compute != "" {
		properties["compute"] = compute
	}
	body := object{"location": location, "tags": orEmpty(d["tags"]), "properties": properties, "identity": object{"type": "SystemAssigned"}}
	if identity := child(d, "identity"); identity != nil {
		body["identity"] = wireIdentity(identity)
	}
	return body
}

func wireIdentity(identity object) object {
	wire := object{"type": toWire(identityTypes(), text(identity, "type"))}
	list, _ := identity["user_assigned_identities"].([]any)
	if len(list) > 0 {
		ids := object{}
		for _, item := range list {
			if one, ok := item.(object); ok {
				ids[text(one, "resource_id")] = object{}
			}
		}
		wire["userAssignedIdentities"] = ids
	}
	return wire
}

func withoutZeros(v any) any {
	shares, _ := v.(object)
	out := object{}
	for name, share := range shares {
		if n, ok := share.(float64); !ok || n != 0 {
			out[name] = share
		}
	}
	return out
}

func showDeployment(d object) object {
	p := func(path string) any { return at(d, "properties."+path) }
	shown := prune(object{
		"id": d["id"], "name": d["name"], "endpoint_name": endpointOf(text(d, "id")), "tags": orEmpty(d["tags"]),
		"description": p("description"), "type": lowered(p("endpointComputeType")), "model": assetRef(p("model")), "environment": assetRef(p("environmentId")),
		"environment_variables": orEmpty(p("environmentVariables")), "instance_type": p("instanceType"), "instance_count": at(d, "sku.capacity"),
		"app_insights_enabled": p("appInsightsEnabled"), "provisioning_state": p("provisioningState"), "model_mount_path": p("modelMountPath"),
		"egress_public_network_access": lowered(p("egressPublicNetworkAccess")), "properties": orEmpty(p("properties")),
		"liveness_probe": showProbe(p("livenessProbe")), "readiness_probe": showProbe(p("readinessProbe")),
		"request_settings": showRequests(p("requestSettings")), "scale_settings": showScale(p("scaleSettings")), "creation_context": creation(d),
		"resources": showResources(p("containerResourceRequirements")),
	})
	if code, ok := p("codeConfiguration").(object); ok {
		shown["code_configuration"] = prune(object{"code": code["codeId"], "scoring_script": code["scoringScript"]})
	}
	return withGroup(shown)
}

func endpointOf(id string) any {
	parsed, err := armid.Parse(id)
	if err != nil || parsed.Parent().Name() == "" {
		return nil
	}
	return parsed.Parent().Name()
}

// assetRef marks an id as azure-ai-ml does.
func assetRef(v any) any {
	if s, ok := v.(string); ok && strings.HasPrefix(s, "/") {
		return "azureml:" + s
	}
	return v
}

func creation(o object) any {
	data := child(o, "systemData")
	if data == nil {
		return nil
	}
	return prune(object{"created_at": data["createdAt"], "created_by": data["createdBy"], "created_by_type": data["createdByType"], "last_modified_at": data["lastModifiedAt"]})
}

func seconds(v any) any {
	s, _ := v.(string)
	if ms, ok := durationMS(s); ok {
		return float64(ms / 1000)
	}
	return v
}

func millis(v any) any {
	s, _ := v.(string)
	if ms, ok := durationMS(s); ok {
		return float64(ms)
	}
	return v
}

func showProbe(v any) any {
	p, ok := v.(object)
	if !ok {
		return nil
	}
	return prune(object{"initial_delay": seconds(p["initialDelay"]), "period": seconds(p["period"]), "timeout": seconds(p["timeout"]),
		"success_threshold": p["successThreshold"], "failure_threshold": p["failureThreshold"]})
}

func showRequests(v any) any {
	r, ok := v.(object)
	if !ok {
		return nil
	}
	return prune(object{"request_timeout_ms": millis(r["requestTimeout"]), "max_queue_wait_ms": millis(r["maxQueueWait"]),
		"max_concurrent_requests_per_instance": r["maxConcurrentRequestsPerInstance"]})
}

func showScale(v any) any {
	s, ok := v.(object)
	if !ok {
		return nil
	}
	return prune(object{"type": toShown(scaleTypes(), text(s, "scaleType")), "min_instances": s["minInstances"], "max_instances": s["maxInstances"],
		"polling_interval": seconds(s["pollingInterval"]), "target_utilization_percentage": s["targetUtilizationPercentage"]})
}

func showResources(v any) any {
	r, ok := v.(object)
	if !ok {
		return nil
	}
	return prune(object{"requests": amounts(r["containerResourceRequests"], "gpu", "nvidia.com/gpu"), "limits": amounts(r["containerResourceLimits"], "gpu", "nvidia.com/gpu")})
}

// amounts copies what a container asks for; the GPU has another name on the
// wire than in files.
func amounts(v any, gpu, as string) any {
	a, ok := v.(object)
	if !ok {
		return nil
	}
	return prune(object{"cpu": a["cpu"], "memory": a["memory"], as: a[gpu]})
}

// wireDeployment makes the body of a PUT from a checked definition whose assets
// are ids.
func wireDeployment(d object, code, environment, model, location string) object {
	managed := text(d, "type") != "kubernetes"
	kind := "Managed"
	if !managed {
		kind = "Kubernetes"
	}
	properties := prune(object{
		"endpointComputeType": kind, "environmentVariables": orEmpty(d["environment_variables"]), "instanceType": d["instance_type"],
		"appInsightsEnabled": d["app_insights_enabled"] == true, "properties": orEmpty(d["properties"]), "description": d["description"],
		"modelMountPath": d["model_mount_path"], "egressPublicNetworkAccess": d["egress_public_network_access"],
		"livenessProbe": wireProbe(d["liveness_probe"]), "readinessProbe": wireProbe(d["readiness_probe"]),
		"requestSettings": wireRequests(d["request_settings"]), "scaleSettings": wireScale(d["scale_settings"]),
		"environmentId": orNull(environment), "model": orNull(model), "containerResourceRequirements": wireResources(d["resources"]),
	})
	if d["private_network_connection"] == true {
		properties["privateNetworkConnection"] = true
	}
	if code != "" || child(d, "code_configuration") != nil {
		properties["codeConfiguration"] = prune(object{"codeId": orNull(code), "scoringScript": at(d, "code_configuration.scoring_script")})
	}
	capacity := d["instance_count"]
	if capacity == nil {
		capacity = 1
	}
	return object{"tags": orEmpty(d["tags"]), "location": location, "properties": properties, "sku": object{"name": "Default", "capacity": capacity}}
}

func iso(v any, unit float64) any {
	n, ok := v.(float64)
	if !ok {
		return nil
	}
	return isoDuration(int64(n * unit))
}

func wireProbe(v any) any {
	p, ok := v.(object)
	if !ok {
		return nil
	}
	return prune(object{"initialDelay": iso(p["initial_delay"], 1000), "period": iso(p["period"], 1000), "timeout": iso(p["timeout"], 1000),
		"successThreshold": p["success_threshold"], "failureThreshold": p["failure_threshold"]})
}

func wireRequests(v any) any {
	r, ok := v.(object)
	if !ok {
		return nil
	}
	return prune(object{"requestTimeout": iso(r["request_timeout_ms"], 1), "maxQueueWait": iso(r["max_queue_wait_ms"], 1),
		"maxConcurrentRequestsPerInstance": r["max_concurrent_requests_per_instance"]})
}

func wireScale(v any) any {
	s, ok := v.(object)
	if !ok {
		return nil
	}
	return prune(object{"scaleType": toWire(scaleTypes(), text(s, "type")), "minInstances": s["min_instances"], "maxInstances": s["max_instances"],
		"pollingInterval": iso(s["polling_interval"], 1000), "targetUtilizationPercentage": s["target_utilization_percentage"]})
}

func wireResources(v any) any {
	r, ok := v.(object)
	if !ok {
		return nil
	}
	return prune(object{"containerResourceRequests": amounts(r["requests"], "nvidia.com/gpu", "gpu"), "containerResourceLimits": amounts(r["limits"], "nvidia.com/gpu", "gpu")})
}
