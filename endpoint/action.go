package endpoint

import (
	"context"
	"fmt"
	"strings"

	"lapis/fault"
	"lapis/resource"
	"lapis/scoring"
)

// maxTail bounds the lines of one getLogs.
const maxTail = 50_000

// logRequest names a log and how much of it.
type logRequest struct {
	Container string `json:"containerType"`
	Tail      int    `json:"tail"`
}

// getLogs gives the last lines of a container of the deployment.
func (s *Service) getLogs(ctx context.Context, call resource.Call) (any, error) {
	var asked logRequest
	if err := call.DecodeBody(&asked); err != nil {
		return nil, err
	}
	path, err := s.logPath(ctx, call, asked)
	if err != nil {
		return nil, err
	}
	text := tail(path, asked.Tail)
	if text == "" {
		text = "The container has written nothing yet; try again later."
	}
	return map[string]string{"content": s.status(call.Resource) + "\n\nContainer logs:\n" + text + "\n"}, nil
}

// logPath checks what is asked of a log, and finds it. What was printed is in
// it then: who has got an answer finds what the script has said before.
func (s *Service) logPath(ctx context.Context, call resource.Call, asked logRequest) (string, error) {
	if asked.Tail < 0 || asked.Tail > maxTail {
		return "", fault.E(fault.Invalid, "BadArgument", "tail is 0 to %d, not %d.", maxTail, asked.Tail).At("tail")
	}
	ep, err := s.Tree.Get(ctx, call.Resource.ID.Parent())
	if err != nil {
		return "", err
	}
	switch strings.ToLower(asked.Container) {
	case "", "inferenceserver":
		if rev := s.serving(call.Resource.ID); rev != nil {
			rev.pool.Log().Flush()
		}
		return s.consolePath(ep, call.Resource), nil
	case "storageinitializer":
		return s.storagePath(ep, call.Resource), nil
	}
	return "", fault.E(fault.Invalid, "BadArgument", "The containerType '%s' is neither InferenceServer nor StorageInitializer.", asked.Container).At("containerType")
}

// status is the head of a log: how the instances stand.
func (s *Service) status(r resource.Resource) string {
	text := fmt.Sprintf("Instance status:\nDeployment: %s", r.State)
	rev := s.serving(r.ID)
	if rev == nil {
		return text
	}
	text += "\nInstances: " + instances(rev.pool.State())
	m, ok := s.Front.Mirror(rev.host)
	if ok && strings.EqualFold(m.Deployment, r.ID.Name()) {
		text += fmt.Sprintf("\nMirrored traffic: %d%%: %d answered, %d failed, %d pending, %d dropped because too many were pending",
			m.Percent, m.Answered, m.Failed, m.Pending, m.Dropped)
	}
	return text
}

// instances words how many instances a pool has.
func instances(state scoring.State) string {
	if state.Starting {
		return "0 ready, starting"
	}
	if state.Asleep {
		return "0, scaled to zero; the next request starts one"
	}
	return fmt.Sprintf("%d of %d ready", state.Ready, state.Instances)
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
