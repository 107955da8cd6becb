package endpoint

import (
	"context"
	"fmt"
	"strings"

	"lapis/fault"
	"lapis/resource"
)

// maxTail bounds the lines of one getLogs.
const maxTail = 50_000

// getLogs gives the last lines of a container of the deployment.
func (s *Service) getLogs(ctx context.Context, call resource.Call) (any, error) {
	var asked struct {
		Container string `json:"containerType"`
		Tail      int    `json:"tail"`
	}
	if err := call.DecodeBody(&asked); err != nil {
		return nil, err
	}
	if asked.Tail < 0 || asked.Tail > maxTail {
		return nil, fault.E(fault.Invalid, "BadArgument", "tail is 0 to %d, not %d.", maxTail, asked.Tail).At("tail")
	}
	ep, err := s.Tree.Get(ctx, call.Resource.ID.Parent())
	if err != nil {
		return nil, err
	}
	path := s.consolePath(ep, call.Resource)
	switch strings.ToLower(asked.Container) {
	case "", "inferenceserver":
	case "storageinitializer":
		path = s.storagePath(ep, call.Resource)
	default:
		return nil, fault.E(fault.Invalid, "BadArgument", "The containerType '%s' is neither InferenceServer nor StorageInitializer.", asked.Container).At("containerType")
	}
	text := tail(path, asked.Tail)
	if text == "" {
		text = "The container has written nothing yet; try again later."
	}
	return map[string]string{"content": s.status(call.Resource) + "\n\nContainer logs:\n" + text + "\n"}, nil
}

// status is the head of a log: how the instances stand.
func (s *Service) status(r resource.Resource) string {
	s.mu.Lock()
	rev := s.live[r.ID.Key()]
	s.mu.Unlock()
	if rev == nil {
		return fmt.Sprintf("Instance status:\nDeployment: %s", r.State)
	}
	state := rev.pool.State()
	text := fmt.Sprintf("Instance status:\nDeployment: %s\nInstances: %d of %d ready", r.State, state.Ready, state.Instances)
	m, ok := s.Front.Mirror(Host(rev.endpoint.ID.Name(), rev.endpoint.Location))
	if ok && strings.EqualFold(m.Deployment, r.ID.Name()) {
		text += fmt.Sprintf("\nMirrored traffic: %d%%: %d answered, %d failed, %d pending, %d dropped because too many were pending",
			m.Percent, m.Answered, m.Failed, m.Pending, m.Dropped)
	}
	return text
}

// mirrorReport compares the answers of a deployment that gets mirrored traffic
// with those of the live ones.
func (s *Service) mirrorReport(ctx context.Context, call resource.Call) (any, error) {
	ep, err := s.Tree.Get(ctx, call.Resource.ID.Parent())
	if err != nil {
		return nil, err
	}
	name := call.Resource.ID.Name()
	report, ok := s.Front.MirrorReport(Host(ep.ID.Name(), ep.Location), name)
	if !ok {
		return nil, fault.E(fault.NotFound, "MirrorReportNotFound",
			"The deployment '%s' has had no mirrored traffic since it was started. Give it some: az ml online-endpoint update --name %s --mirror-traffic %s=10",
			name, ep.ID.Name(), name)
	}
	return report, nil
}
