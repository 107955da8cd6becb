package endpoint

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"lapis/fault"
	"lapis/resource"
	"lapis/secret"
)

func (s *Service) listKeys(_ context.Context, call resource.Call) (any, error) {
	keys, err := s.keys(call.Resource)
	if err != nil {
		return nil, err
	}
	return map[string]string{"primaryKey": keys[0].Reveal(), "secondaryKey": keys[1].Reveal()}, nil
}

// regenerateKeys replaces one key. Clients send the key in force as the new
// one when the user gave none, so that means: make a new one.
func (s *Service) regenerateKeys(ctx context.Context, call resource.Call) (any, error) {
	var asked struct {
		KeyType  string `json:"keyType"`
		KeyValue string `json:"keyValue"`
	}
	if err := call.DecodeBody(&asked); err != nil {
		return nil, err
	}
	i := slices.Index([]string{"primary", "secondary"}, strings.ToLower(asked.KeyType))
	if i < 0 {
		return nil, fault.E(fault.Invalid, "BadArgument", "The keyType '%s' is neither Primary nor Secondary.", asked.KeyType).At("keyType")
	}
	keys, err := s.keys(call.Resource)
	if err != nil {
		return nil, err
	}
	key := secret.New(asked.KeyValue)
	if asked.KeyValue == "" || keys[i].Equal(asked.KeyValue) {
		if key, err = s.newKey(); err != nil {
			return nil, err
		}
	}
	err = s.Tree.Modify(ctx, call.Resource.ID, func(r *resource.Resource) error { return s.setKey(r, i, key) })
	if err != nil {
		return nil, err
	}
	return nil, s.publish(ctx, call.Resource.ID)
}

// noToken answers token requests of endpoints that have keys.
func noToken(_ context.Context, call resource.Call) (any, error) {
	return nil, fault.E(fault.Invalid, "BadArgument", "The endpoint '%s' is called with keys, not with tokens; ask listKeys.", call.Resource.ID.Name())
}

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
	return fmt.Sprintf("Instance status:\nDeployment: %s\nInstances: %d of %d ready", r.State, state.Ready, state.Instances)
}
