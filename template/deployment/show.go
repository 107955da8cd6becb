package deployment

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"lapis/armid"
	"lapis/fault"
	"lapis/operation"
	"lapis/resource"
	"lapis/template"
)

// states are provisioningStates of deployments, which differ from those of others.
func states(s resource.State) string {
	switch s {
	case resource.Creating, resource.Updating:
		return "Running"
	}
	return string(s)
}

// show renders a deployment (DeploymentPropertiesExtended, 2021-04-01).
func (s *Service) show(_ context.Context, r resource.Resource, shown *resource.Shown) error {
	rec, err := recordOf(r)
	if err != nil {
		return err
	}
	end := rec.End
	if end.IsZero() {
		end = s.Now()
	}
	shown.ETag, shown.SystemData = "", nil
	shown.Properties = map[string]any{
		"mode": "Incremental", "provisioningState": states(r.State), "correlationId": rec.CorrelationID,
		"timestamp": end.UTC(), "duration": duration(end.Sub(rec.Begin)), "parameters": rec.Parameters,
		"providers": providers(rec.Steps), "dependencies": dependencies(rec.Steps), "outputs": nil, "outputResources": []any{},
	}
	if r.State == resource.Succeeded {
		made := []map[string]string{}
		for _, st := range rec.Steps {
			made = append(made, map[string]string{"id": st.ID.String()})
		}
		shown.Properties["outputs"], shown.Properties["outputResources"] = rec.Outputs, made
	}
	if f := r.Failure; f != nil {
		shown.Properties["error"] = failure(f)
	}
	return nil
}

func failure(f *operation.Failure) map[string]any {
	shown := map[string]any{"code": f.Code, "message": f.Message}
	if f.Target != "" {
		shown["target"] = f.Target
	}
	details := []any{}
	for _, d := range f.Details {
		details = append(details, failure(d))
	}
	if len(details) > 0 {
		shown["details"] = details
	}
	return shown
}

// duration is ISO 8601.
func duration(d time.Duration) string {
	minutes := int(d / time.Minute)
	seconds := strconv.FormatFloat((d % time.Minute).Seconds(), 'f', -1, 64)
	if minutes == 0 {
		return "PT" + seconds + "S"
	}
	return fmt.Sprintf("PT%dM%sS", minutes, seconds)
}

func providers(steps []step) []any {
	types := map[string][]any{}
	var order []string
	for _, st := range steps {
		namespace, rest, _ := strings.Cut(st.ID.Type(), "/")
		if types[namespace] == nil {
			order = append(order, namespace)
		}
		if !slices.ContainsFunc(types[namespace], func(v any) bool { return v.(map[string]any)["resourceType"] == rest }) {
			types[namespace] = append(types[namespace], map[string]any{"resourceType": rest})
		}
	}
	found := []any{}
	for _, namespace := range order {
		found = append(found, map[string]any{"namespace": namespace, "resourceTypes": types[namespace]})
	}
	return found
}

func dependencies(steps []step) []any {
	found := []any{}
	for _, st := range steps {
		if len(st.DependsOn) == 0 {
			continue
		}
		on := []any{}
		for _, id := range st.DependsOn {
			on = append(on, target(id))
		}
		entry := target(st.ID)
		entry["dependsOn"] = on
		found = append(found, entry)
	}
	return found
}

func target(id armid.ID) map[string]any {
	return map[string]any{"id": id.String(), "resourceType": id.Type(), "resourceName": strings.Join(id.Names(), "/")}
}

// Steps are the operations of a deployment, as its clients follow it
// (DeploymentOperation): those that have begun.
func (s *Service) Steps(ctx context.Context, id armid.ID) ([]any, error) {
	r, err := s.Tree.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	rec, err := recordOf(r)
	if err != nil {
		return nil, err
	}
	found := []any{}
	for i, st := range rec.Steps {
		if st.State == "" {
			continue
		}
		name := fmt.Sprintf("%016X", i+1)
		end := st.End
		if end.IsZero() {
			end = s.Now()
		}
		properties := map[string]any{
			"provisioningOperation": "Create", "provisioningState": st.State, "timestamp": end.UTC(), "duration": duration(end.Sub(st.Begin)),
			"serviceRequestId": rec.CorrelationID, "statusCode": statusOf(st), "targetResource": target(st.ID),
		}
		if st.Failure != nil {
			properties["statusMessage"] = map[string]any{"status": "Failed", "error": failure(st.Failure)}
		}
		found = append(found, map[string]any{"id": r.ID.String() + "/operations/" + name, "operationId": name, "properties": properties})
	}
	return found, nil
}

// statusOf is the HTTP status that a client of its own would have got, by name.
func statusOf(st step) string {
	switch {
	case st.State == "Running":
		return "Accepted"
	case st.Failure == nil:
		return "OK"
	}
	return map[fault.Kind]string{
		fault.Denied: "Forbidden", fault.Conflict: "Conflict", fault.NotFound: "NotFound", fault.Internal: http.StatusText(http.StatusInternalServerError),
	}[st.Failure.Kind]
}

// validate answers what a deployment would make, and makes nothing.
func (s *Service) validate(ctx context.Context, call resource.Call) (any, error) {
	var body struct {
		Properties json.RawMessage `json:"properties"`
	}
	if err := call.DecodeBody(&body); err != nil {
		return nil, err
	}
	if len(body.Properties) == 0 {
		return nil, fault.E(fault.Invalid, "InvalidRequestContent", "A deployment needs the property 'properties' with mode and template.").At("properties")
	}
	id := call.Resource.ID
	if err := checkName(id.Name()); err != nil {
		return nil, err
	}
	in, p, err := s.plan(ctx, id, call.Caller.ObjectID, body.Properties)
	if err != nil {
		return nil, err
	}
	var steps []step
	made := []any{}
	for _, st := range p.Steps {
		steps = append(steps, step{ID: st.ID, DependsOn: st.DependsOn})
		made = append(made, map[string]string{"id": st.ID.String()})
	}
	return map[string]any{
		"id": id.String(), "name": id.Name(), "type": template.DeploymentType,
		"properties": map[string]any{
			"mode": "Incremental", "provisioningState": "Succeeded", "timestamp": s.Now().UTC(), "duration": "PT0S",
			"parameters": shownParameters(in.Parameters), "providers": providers(steps), "dependencies": dependencies(steps), "validatedResources": made,
		},
	}, nil
}

// cancel ends a deployment that runs. What it has made stays.
func (s *Service) cancel(ctx context.Context, call resource.Call) (any, error) {
	if call.Resource.State.Done() {
		return nil, fault.E(fault.Conflict, "DeploymentCannotBeCancelled",
			"The deployment '%s' has ended (%s) and cannot be cancelled.", call.Resource.ID.Name(), call.Resource.State)
	}
	return resource.NoContent{}, s.Operations.Cancel(ctx, call.Resource.ID.Key(), "")
}
