package endpoint

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"time"

	"lapis/fault"
	"lapis/operation"
	"lapis/resource"
	"lapis/scoring"
)

// The properties by which a deployment scales where its scaleSettings cannot
// say so: azure-ai-ml lets nothing but the default pass for a managed
// deployment, and Azure knows no idle time.
const (
	propMin    = "lapis.min_instances"
	propMax    = "lapis.max_instances"
	propTarget = "lapis.target_utilization_percentage"
	propPoll   = "lapis.polling_interval"
	propIdle   = "lapis.idle"
)

// The types of scaleSettings.
const (
	scaleDefault = "Default"
	scaleTarget  = "TargetUtilization"
)

// maxPoll and maxIdle bound the intervals of scaling.
const (
	maxPoll = time.Hour
	maxIdle = 30 * 24 * time.Hour
)

// checkScale holds scaleSettings against the rules and fills in Azure's defaults.
func (p *deployment) checkScale() error {
	const at = "properties.scaleSettings."
	if p.Scale == nil || p.Scale.Type == "" {
		p.Scale = &scale{Type: scaleDefault}
	}
	switch p.Scale.Type {
	case scaleDefault:
		p.Scale = &scale{Type: scaleDefault} // the rest has no meaning with it
	case scaleTarget:
		one, target := 1, scoring.DefaultTarget
		for _, field := range []struct {
			value **int
			usual *int
		}{{&p.Scale.Min, &one}, {&p.Scale.Max, &one}, {&p.Scale.Target, &target}} {
			if *field.value == nil {
				*field.value = field.usual
			}
		}
		if err := duration(&p.Scale.Poll, "PT1S", at+"pollingInterval", maxPoll); err != nil {
			return err
		}
	default:
		return fault.E(fault.Invalid, "BadArgument", "The scaleType '%s' is neither Default nor TargetUtilization.", p.Scale.Type).At(at + "scaleType")
	}
	_, err := sizeOf(p, 1)
	return err
}

// size is how many instances a deployment is to have: a number, or a range.
type size struct {
	scoring.Scaling
	count int
}

// start is the number to begin with: one at least, to prove that it works.
func (z size) start() int {
	if z.Scaling == (scoring.Scaling{}) {
		return z.count
	}
	return z.Clamp(z.count)
}

// sizeOf reads the size from scaleSettings and our properties, which win.
func sizeOf(p *deployment, count int) (size, error) {
	z := size{count: count}
	const settings = "properties.scaleSettings."
	r := scaleReader{properties: p.Properties}
	if p.Scale != nil && p.Scale.Type == scaleTarget {
		r.auto = true
		z.Min, z.Max, z.Target = *p.Scale.Min, *p.Scale.Max, *p.Scale.Target
		z.Poll, _ = parseDuration(p.Scale.Poll) // checkScale has
	} else {
		z.Min, z.Max, z.Target, z.Poll = count, count, scoring.DefaultTarget, scoring.DefaultPoll
	}
	z.Idle = scoring.DefaultIdle
	minAt := r.number(propMin, settings+"minInstances", &z.Min)
	maxAt := r.number(propMax, settings+"maxInstances", &z.Max)
	targetAt := r.number(propTarget, settings+"targetUtilizationPercentage", &z.Target)
	pollAt := r.duration(propPoll, settings+"pollingInterval", &z.Poll, maxPoll)
	idleAt := r.duration(propIdle, "", &z.Idle, maxIdle)
	if !r.auto && r.err == nil {
		return size{count: count}, nil
	}
	if p.Scale == nil || p.Scale.Type != scaleTarget { // a property alone moves the other bound with it
		if minAt != settings+"minInstances" && maxAt == settings+"maxInstances" {
			z.Max = max(z.Max, z.Min)
		}
		if maxAt != settings+"maxInstances" && minAt == settings+"minInstances" {
			z.Min = min(z.Min, z.Max)
		}
	}
	refuse := func(at, format string, args ...any) (size, error) {
		return size{}, fault.E(fault.Invalid, "BadArgument", format, args...).At(at)
	}
	switch {
	case r.err != nil:
		return size{}, r.err
	case z.Min < 0 || z.Min > maxInstances:
		return refuse(minAt, "The minimum of instances is 0 to %d, not %d.", maxInstances, z.Min)
	case z.Max < 1 || z.Max > maxInstances:
		return refuse(maxAt, "The maximum of instances is 1 to %d, not %d.", maxInstances, z.Max)
	case z.Min > z.Max:
		return refuse(minAt, "The minimum of instances, %d, is larger than the maximum, %d.", z.Min, z.Max)
	case z.Target < 1 || z.Target > 100:
		return refuse(targetAt, "The target utilization is 1 to 100 percent, not %d.", z.Target)
	case z.Poll < time.Second:
		return refuse(pollAt, "The polling interval is one second or more, not %v.", z.Poll)
	case z.Idle < time.Second:
		return refuse(idleAt, "The idle time is one second or more, not %v.", z.Idle)
	}
	return z, nil
}

// scaleReader reads our properties; auto says that there was one that scales.
type scaleReader struct {
	properties map[string]string
	auto       bool
	err        error
}

// number reads one, and returns where what counts was given.
func (r *scaleReader) number(name, otherwise string, into *int) (at string) {
	text, ok := r.properties[name]
	if !ok {
		return otherwise
	}
	r.auto, at = true, "properties.properties."+name
	n, err := strconv.Atoi(text)
	if err != nil && r.err == nil {
		r.err = fault.E(fault.Invalid, "BadArgument", "The property %s is a whole number, not '%.50s'.", name, text).At(at)
	}
	*into = n
	return at
}

func (r *scaleReader) duration(name, otherwise string, into *time.Duration, limit time.Duration) (at string) {
	text, ok := r.properties[name]
	if !ok {
		return otherwise
	}
	at = "properties.properties." + name
	d, err := parseDuration(text)
	if err == nil && d > limit {
		err = fault.E(fault.Invalid, "BadArgument", "'%s' is longer than %v", text, limit)
	}
	if err != nil && r.err == nil {
		r.err = fault.E(fault.Invalid, "BadArgument", "The property %s: %s.", name, err.Error()).At(at)
	}
	*into = d
	return at
}

// scalable returns the revision that serves next's deployment, if next differs
// from it in nothing but the number of instances. A deployment that is put
// again without any change is made anew, which is how people restart one.
func (s *Service) scalable(ctx context.Context, next *plan) *revision {
	r := s.serving(next.deployment.ID)
	if r == nil || r.made != next.Revision {
		return nil
	}
	now, err := s.planOf(ctx, r)
	if err != nil {
		return nil
	}
	after, errAfter := sizeOf(&next.spec, capacity(next.deployment))
	before, errBefore := sizeOf(&now.spec, capacity(now.deployment))
	if r.plan.Load() == nil { // at zero: the record that it was read from is the next one by now
		before, errBefore = size{Scaling: r.pool.Scaling(), count: after.count}, nil
	}
	if errBefore != nil || errAfter != nil || before == after {
		return nil
	}
	if !reflect.DeepEqual(now.spec.seen(), next.spec.seen()) {
		return nil
	}
	return r
}

// seen is what instances see of a deployment's properties.
func (p deployment) seen() deployment {
	p.Properties, p.Description, p.Scale = nil, "", nil
	return p
}

// scale changes the number of a revision's instances. Those that run stay, or
// finish their requests before they go.
func (s *Service) scale(ctx context.Context, run *operation.Run, r *revision, next *plan) error {
	z, err := sizeOf(&next.spec, capacity(next.deployment))
	if err != nil {
		return err
	}
	run.Report("changing the number of instances")
	if z.Scaling == (scoring.Scaling{}) {
		r.console.printf(s.Now(), "I lapis - scaling from %d to %d instances", r.pool.State().Instances, z.count)
	} else {
		r.console.printf(s.Now(), "I lapis - scaling between %d and %d instances from now on, %d now", z.Min, z.Max, r.pool.State().Instances)
	}
	began := s.Now()
	err = r.pool.SetScaling(ctx, z.Scaling)
	if err == nil && z.Scaling == (scoring.Scaling{}) {
		err = r.pool.Scale(ctx, z.count)
	}
	if err != nil {
		err = s.crashed(next, err, began)
		r.console.printf(s.Now(), "E lapis - scaling failed, the instances that ran before go on: %s", fault.From(err).Message)
		return err
	}
	if r.plan.Load() != nil {
		r.plan.Store(next)
	}
	return nil
}

// capacity is the number of instances that a deployment's record asks for.
func capacity(r resource.Resource) int {
	var k sku
	_ = json.Unmarshal(r.SKU, &k) // checkCapacity wrote it
	return k.Capacity
}

// The file in a revision's folder that says that it is at zero instances: what
// was there when the platform stopped is what comes back.
func (s *Service) sleepMark(r *revision) string { return filepath.Join(s.revisionDir(r), "asleep") }

func (s *Service) asleep(r *revision) bool {
	_, err := os.Stat(s.sleepMark(r))
	return err == nil
}

// slept notes that a revision has gone to zero instances, or has come back.
func (s *Service) slept(r *revision, asleep bool) {
	var err error
	if asleep {
		err = os.WriteFile(s.sleepMark(r), nil, 0o600)
		if !r.pinned.Load() {
			r.plan.Store(nil)
		}
	} else {
		err = os.Remove(s.sleepMark(r))
	}
	r.console.rest(asleep)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.Log.Warn("a deployment's going to zero, or coming back, could not be kept", "deployment", r.name(), "asleep", asleep, "error", err)
	}
}
