package endpoint

import (
	"context"
	"encoding/json"
	"reflect"

	"lapis/fault"
	"lapis/operation"
	"lapis/resource"
)

// scalable returns the revision that serves next's deployment, if next differs
// from it in nothing but the number of instances. A deployment that is put
// again without any change is made anew, which is how people restart one.
func (s *Service) scalable(next *revision) *revision {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.live[next.deployment.ID.Key()]
	if now == nil || now.Revision != next.Revision || capacity(now.deployment) == capacity(next.deployment) {
		return nil
	}
	before, after := now.spec, next.spec
	for _, d := range []*deployment{&before, &after} { // what instances do not see
		d.Properties, d.Description, d.Scale = nil, "", nil
	}
	if !reflect.DeepEqual(before, after) {
		return nil
	}
	return now
}

// scale changes the number of a revision's instances. Those that run stay, or
// finish their requests before they go.
func (s *Service) scale(ctx context.Context, run *operation.Run, r *revision, record resource.Resource) error {
	n := capacity(record)
	run.Report("changing the number of instances")
	r.console.printf(s.Now(), "I lapis - scaling from %d to %d instances", r.pool.State().Instances, n)
	began := s.Now()
	if err := r.pool.Scale(ctx, n); err != nil {
		err = s.crashed(r, err, began)
		r.console.printf(s.Now(), "E lapis - scaling failed, the instances that ran before go on: %s", fault.From(err).Message)
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r.deployment.SKU = record.SKU
	return nil
}

// capacity is the number of instances that a deployment's record asks for.
func capacity(r resource.Resource) int {
	var k sku
	_ = json.Unmarshal(r.SKU, &k) // checkCapacity wrote it
	return k.Capacity
}
