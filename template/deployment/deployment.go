// Package deployment owns deployments of templates: records of what a template
// made, and the operation that makes it, resource by resource and with the
// rights of who asked for it.
//
// A deployment is incremental: what the template does not name stays. Template
// and parameters may hold secrets; they are kept sealed and never shown.
package deployment

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"lapis/armid"
	"lapis/fault"
	"lapis/jsonc"
	"lapis/operation"
	"lapis/resource"
	"lapis/secret"
	"lapis/store"
	"lapis/template"
)

// Kinds of operations.
const (
	putKind    = "template.put"
	deleteKind = "template.delete"
)

// roleAssignments are made through Config.Assign: they are no resources of the tree.
const roleAssignments = "Microsoft.Authorization/roleAssignments"

// Config is what the service needs.
type Config struct {
	Tree       *resource.Tree
	Operations *operation.Runner
	Sealer     *secret.Sealer
	Tenant     string
	// Require asks whether the caller may do something at a scope.
	Require func(ctx context.Context, principalID, action string, scope armid.ID) error
	// Linked asks for what a write at a scope needs elsewhere.
	Linked func(ctx context.Context, principalID, action string, scope armid.ID, access resource.Access) error
	// Assign makes a role assignment for the caller, whose right to do so it checks.
	Assign func(ctx context.Context, callerID string, id armid.ID, body json.RawMessage) error
	Now    func() time.Time
}

// Service keeps deployments.
type Service struct{ Config }

// New returns the service; register its Type and Kinds.
func New(cfg Config) *Service { return &Service{cfg} }

// Type is the descriptor of deployments in resource groups.
func (s *Service) Type() resource.Type {
	return resource.Type{
		Name: template.DeploymentType, Unlisted: true, Clean: jsonc.Spliced,
		APIVersions: []string{
			"2016-02-01", "2016-09-01", "2017-05-10", "2018-02-01", "2018-05-01", "2019-03-01", "2019-05-01", "2019-05-10",
			"2019-07-01", "2019-08-01", "2019-10-01", "2020-06-01", "2020-08-01", "2020-10-01",
			"2021-01-01", "2021-04-01", "2022-09-01", "2023-07-01", "2024-03-01", "2024-07-01", "2024-11-01", "2025-03-01", "2025-04-01",
		},
		CheckName: checkName, Prepare: s.prepare, Show: s.show,
		PutOperation: putKind, DeleteOperation: deleteKind,
		Actions: []resource.Action{
			{Name: "validate", Absent: true, Run: s.validate},
			{Name: "cancel", Run: s.cancel},
		},
	}
}

// Kinds are the operations of deployments.
func (s *Service) Kinds() map[string]operation.Kind {
	return map[string]operation.Kind{
		putKind: {Run: s.run, Finish: s.finish},
		deleteKind: {Finish: resource.FinishDelete, Run: func(ctx context.Context, run *operation.Run) error {
			return s.Operations.Cancel(ctx, run.Target, run.ID)
		}},
	}
}

func checkName(name string) error {
	ok := len(name) <= 64 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.()") == ""
	if ok && !strings.HasSuffix(name, ".") {
		return nil
	}
	return fault.E(fault.Invalid, "InvalidDeploymentName",
		"The deployment name '%s' is not valid: 1 to 64 letters, digits, '-', '_', '.', '(' and ')', not ending in '.'.", name).At("deploymentName")
}

// request is the properties of a deployment as clients send them.
type request struct {
	Mode           string          `json:"mode"`
	Template       json.RawMessage `json:"template"`
	TemplateLink   json.RawMessage `json:"templateLink"`
	Parameters     json.RawMessage `json:"parameters"`
	ParametersLink json.RawMessage `json:"parametersLink"`
}

// input is what a deployment works from; it is kept sealed.
type input struct {
	Template   json.RawMessage               `json:"template"`
	Parameters map[string]template.Parameter `json:"parameters"`
}

// record is the private part of a deployment's resource.
type record struct {
	Input         []byte                     `json:"input"` // sealed
	CorrelationID string                     `json:"correlationId"`
	Begin         time.Time                  `json:"begin"`
	End           time.Time                  `json:"end,omitzero"`
	Steps         []step                     `json:"steps"`
	Parameters    map[string]template.Output `json:"parameters"` // as they are shown
	Outputs       map[string]template.Output `json:"outputs,omitempty"`
}

// step is how one resource of a deployment stands.
type step struct {
	ID        armid.ID           `json:"id"`
	DependsOn []armid.ID         `json:"dependsOn,omitempty"`
	State     string             `json:"state"` // "", Running, Succeeded, Failed
	Begin     time.Time          `json:"begin,omitzero"`
	End       time.Time          `json:"end,omitzero"`
	Failure   *operation.Failure `json:"failure,omitempty"`
}

// plan reads a request and holds it against the rules that need nothing made.
func (s *Service) plan(ctx context.Context, id armid.ID, callerID string, properties json.RawMessage) (input, *template.Plan, error) {
	var r request
	var in input
	if err := json.Unmarshal(properties, &r); err != nil {
		return in, nil, fault.E(fault.Invalid, "InvalidRequestContent", "The properties of a deployment are not of its shape: %s.", err.Error()).At("properties")
	}
	switch {
	case len(r.TemplateLink) > 0 && string(r.TemplateLink) != "null" || len(r.ParametersLink) > 0 && string(r.ParametersLink) != "null":
		return in, nil, fault.E(fault.Invalid, "InvalidTemplateLink", "Templates and parameters behind links are not fetched by this platform; send them in the request.").At("properties.templateLink")
	case !strings.EqualFold(r.Mode, "Incremental"):
		return in, nil, fault.E(fault.Invalid, "InvalidDeploymentMode", "The mode of a deployment is Incremental here, not '%s': this platform does not delete what a template leaves out.", r.Mode).At("properties.mode")
	case len(r.Template) == 0:
		return in, nil, fault.E(fault.Invalid, "InvalidRequestContent", "A deployment needs a template.").At("properties.template")
	}
	group, err := s.Tree.Get(ctx, armid.ResourceGroup(id.SubscriptionID(), id.ResourceGroupName()))
	if err != nil {
		return in, nil, err
	}
	t, err := template.Parse(r.Template)
	if err != nil {
		return in, nil, err
	}
	place := s.place(group)
	in.Template = r.Template
	if in.Parameters, err = t.Resolve(r.Parameters, place, func() (string, error) {
		fresh, err := uuid.NewRandomFromReader(s.Tree.Rand)
		return fresh.String(), err
	}); err != nil {
		return in, nil, err
	}
	p, err := t.Plan(in.Parameters, place)
	if err != nil {
		return in, nil, err
	}
	return in, p, s.preflight(ctx, callerID, p)
}

func (s *Service) place(group resource.Resource) template.Place {
	return template.Place{
		Tenant: s.Tenant, Subscription: group.ID.SubscriptionID(), Group: group.ID.Name(), Location: group.Location, Tags: group.Tags,
	}
}

// preflight refuses a plan before anything is made: for types that are not
// served, and for rights that the caller has not.
func (s *Service) preflight(ctx context.Context, callerID string, p *template.Plan) error {
	for _, st := range p.Steps {
		action := st.ID.Type() + "/write"
		if !st.ID.Is(roleAssignments) {
			typ, err := s.Tree.TypeOf(st.ID)
			if err != nil {
				return fault.E(fault.Invalid, "NoRegisteredProviderFound",
					"No registered resource provider found for the type '%s' of the resource '%s': this platform does not serve it. docs/coverage.md lists what is served.", st.ID.Type(), st.ID).At(st.ID.String())
			}
			if err := typ.CheckAPIVersion(st.APIVersion); err != nil {
				return err
			}
			action = typ.Name + "/write"
		}
		scope := st.ID
		if st.ID.Is(roleAssignments) {
			scope = st.ID.Parent()
		}
		if err := s.Require(ctx, callerID, action, scope); err != nil {
			f := *fault.From(err)
			f.Code, f.Message = "InvalidTemplateDeployment", fmt.Sprintf("Authorization failed for template resource '%s' of type '%s'. %s", st.ID.Name(), st.ID.Type(), f.Message)
			return &f
		}
	}
	return nil
}

// prepare accepts a deployment: what it needs later goes into the sealed part.
func (s *Service) prepare(ctx context.Context, d *resource.Draft) error {
	if len(d.Next.Properties) == 0 {
		return fault.E(fault.Invalid, "InvalidRequestContent", "A deployment needs the property 'properties' with mode and template.").At("properties")
	}
	in, p, err := s.plan(ctx, d.Next.ID, d.Caller.ObjectID, d.Next.Properties)
	if err != nil {
		return err
	}
	correlation, err := uuid.NewRandomFromReader(s.Tree.Rand)
	if err != nil {
		return err
	}
	rec := record{CorrelationID: correlation.String(), Begin: s.Now().UTC(), Parameters: shownParameters(in.Parameters)}
	for _, st := range p.Steps {
		rec.Steps = append(rec.Steps, step{ID: st.ID, DependsOn: st.DependsOn})
	}
	plain, err := json.Marshal(in)
	if err != nil {
		return err
	}
	if rec.Input, err = s.Sealer.Seal(label(d.Next.ID), plain); err != nil {
		return err
	}
	d.Next.Properties = json.RawMessage(`{}`)
	d.Next.Private, err = json.Marshal(rec)
	return err
}

func label(id armid.ID) string { return "deployment " + id.Key() }

// shownParameters are parameters as everybody may see them.
func shownParameters(parameters map[string]template.Parameter) map[string]template.Output {
	shown := map[string]template.Output{}
	for name, p := range parameters {
		out := template.Output{Type: p.Type}
		if !p.Secure {
			out.Value = p.Value
		}
		shown[name] = out
	}
	return shown
}

func recordOf(r resource.Resource) (record, error) {
	var rec record
	err := json.Unmarshal(r.Private, &rec)
	return rec, err
}

// run makes the resources. Each is a PUT, so a run after an interruption
// begins at the first again and changes nothing that is there.
func (s *Service) run(ctx context.Context, run *operation.Run) error {
	id, err := armid.Parse(run.Target)
	if err != nil {
		return err
	}
	r, err := s.Tree.Get(ctx, id)
	if err != nil {
		return err
	}
	rec, err := recordOf(r)
	if err != nil {
		return err
	}
	plain, err := s.Sealer.Open(label(r.ID), rec.Input)
	if err != nil {
		return err
	}
	var in input
	if err := json.Unmarshal(plain, &in); err != nil {
		return err
	}
	group, err := s.Tree.Get(ctx, armid.ResourceGroup(id.SubscriptionID(), id.ResourceGroupName()))
	if err != nil {
		return err
	}
	t, err := template.Parse(in.Template)
	if err != nil {
		return err
	}
	p, err := t.Plan(normal(in.Parameters), s.place(group))
	if err != nil {
		return err
	}
	reference := s.reference(ctx, run.Caller)
	for _, st := range p.Steps {
		run.Report("making " + st.ID.String())
		if err := s.make(ctx, r, p, st, reference); err != nil {
			return deploymentFailed(id, st.ID, err)
		}
	}
	outputs, err := p.Outputs(reference)
	if err != nil {
		return err
	}
	return s.note(ctx, id, func(rec *record) { rec.Outputs = outputs })
}

// normal gives numbers that went through JSON their type again.
func normal(parameters map[string]template.Parameter) map[string]template.Parameter {
	for name, p := range parameters {
		p.Value = template.Normal(p.Value)
		parameters[name] = p
	}
	return parameters
}

// deploymentFailed is the fault of a deployment one of whose resources failed.
func deploymentFailed(id, target armid.ID, err error) error {
	inner := *fault.From(err)
	if inner.Target == "" {
		inner.Target = target.String()
	}
	inner.Message = fmt.Sprintf("The resource '%s': %s", target, inner.Message)
	f := fault.E(fault.Conflict, "DeploymentFailed",
		"At least one resource deployment operation failed: '%s'. List deployment operations for details, with: az deployment operation group list --name %s --resource-group %s",
		target, id.Name(), id.ResourceGroupName()).At(target.String())
	f.Details = []*fault.Error{&inner}
	return f
}

// make makes one resource and waits until it is complete.
func (s *Service) make(ctx context.Context, r resource.Resource, p *template.Plan, st *template.Step, reference template.Reference) error {
	mark := func(state string, err error) error {
		return s.note(ctx, r.ID, func(rec *record) {
			i := slices.IndexFunc(rec.Steps, func(o step) bool { return o.ID.Equal(st.ID) })
			if i < 0 {
				return
			}
			now := s.Now().UTC()
			if state == "Running" {
				rec.Steps[i].Begin = now
			} else {
				rec.Steps[i].End = now
			}
			rec.Steps[i].State, rec.Steps[i].Failure = state, operation.FailureOf(err)
		})
	}
	if err := mark("Running", nil); err != nil {
		return err
	}
	body, err := p.Body(st, reference)
	if err == nil {
		err = s.put(ctx, resource.Caller{ObjectID: r.System.ModifiedBy, Kind: r.System.ModifiedByType}, st.ID, body)
	}
	if err != nil {
		if noted := mark("Failed", err); noted != nil && ctx.Err() == nil {
			return noted
		}
		return err
	}
	return mark("Succeeded", nil)
}

// put writes one resource as the caller, who is asked for each right again:
// roles may have gone since the deployment was accepted.
func (s *Service) put(ctx context.Context, caller resource.Caller, id armid.ID, body json.RawMessage) error {
	if id.Is(roleAssignments) {
		return s.Assign(ctx, caller.ObjectID, id, body)
	}
	typ, err := s.Tree.TypeOf(id)
	if err != nil {
		return err
	}
	action := typ.Name + "/write"
	if err := s.Require(ctx, caller.ObjectID, action, id); err != nil {
		return err
	}
	changed, err := s.Tree.Put(ctx, resource.Put{ID: id, Body: body, Caller: caller, Authorize: func(access resource.Access) error {
		return s.Linked(ctx, caller.ObjectID, action, id, access)
	}})
	if err != nil || changed.Operation == nil {
		return err
	}
	return s.Operations.Wait(ctx, changed.Operation.ID)
}

// reference shows a resource to a template, if the caller may read it.
func (s *Service) reference(ctx context.Context, callerID string) template.Reference {
	return func(id armid.ID, full bool) (any, error) {
		typ, err := s.Tree.TypeOf(id)
		if err != nil {
			return nil, err
		}
		if err := s.Require(ctx, callerID, typ.Name+"/read", id); err != nil {
			return nil, err
		}
		r, err := s.Tree.Get(ctx, id)
		if err != nil {
			return nil, err
		}
		shown, err := s.Tree.Show(ctx, r)
		if err != nil {
			return nil, err
		}
		var what any = shown.Properties
		if full {
			what = shown
		}
		data, err := json.Marshal(what)
		if err != nil {
			return nil, err
		}
		return template.Decode(data)
	}
}

// note changes a deployment's record.
func (s *Service) note(ctx context.Context, id armid.ID, change func(*record)) error {
	return s.Tree.Modify(context.WithoutCancel(ctx), id, func(r *resource.Resource) error { return modify(r, change) })
}

func modify(r *resource.Resource, change func(*record)) error {
	rec, err := recordOf(*r)
	if err != nil {
		return err
	}
	change(&rec)
	r.Private, err = json.Marshal(rec)
	return err
}

// finish ends a deployment: Succeeded, Failed, or Canceled on request.
func (s *Service) finish(tx store.Tx, op operation.Operation, err error) error {
	if ended := resource.Finish(tx, op, err); ended != nil {
		return ended
	}
	id, parseErr := armid.Parse(op.Target)
	if parseErr != nil {
		return parseErr
	}
	modified := resource.Modify(tx, id, func(r *resource.Resource) error {
		if op.Status == operation.Canceled {
			r.State = resource.Canceled
		}
		return modify(r, func(rec *record) { rec.End = op.End })
	})
	if fault.Is(modified, fault.NotFound) {
		return nil
	}
	return modified
}
