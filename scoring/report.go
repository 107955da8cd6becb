package scoring

import (
	"math"
	"slices"
	"strings"
	"time"
)

// maxDifferences is how many of the latest differences are kept.
const maxDifferences = 50

// MirrorReport compares what a shadow answered with what clients got. It
// counts from the start of the shadow's revision on, and is kept after the
// mirroring has ended, for as long as the revision is there.
type MirrorReport struct {
	Deployment string    `json:"deployment"`
	Percent    int       `json:"percent"` // 0: the mirroring has ended
	Since      time.Time `json:"since"`

	Pending         int    `json:"pending"` // copies that wait or run
	Same            uint64 `json:"same"`
	DifferentStatus uint64 `json:"differentStatus"`
	DifferentType   uint64 `json:"differentContentType"`
	DifferentBody   uint64 `json:"differentBody"`
	ShadowFailed    uint64 `json:"shadowFailed"` // it gave no answer: too late, ended, not ready
	NotCompared     uint64 `json:"notCompared"`  // no live answer, or too large to keep
	Dropped         uint64 `json:"dropped"`      // never sent: too many were pending

	NumericTolerance float64 `json:"numericTolerance"`

	LiveLatency   Latency      `json:"liveLatency"` // in the instance, of the requests that were compared
	ShadowLatency Latency      `json:"shadowLatency"`
	Differences   []Difference `json:"differences"` // the latest, newest first
}

// Latency is a distribution of times, in milliseconds, exact to some 15 %.
type Latency struct {
	Count uint64  `json:"count"`
	P50   float64 `json:"p50Ms"`
	P95   float64 `json:"p95Ms"`
	Max   float64 `json:"maxMs"`
}

// tally is what a shadow's queue has counted and kept.
type tally struct {
	since          time.Time
	counts         map[string]uint64 // by kind of difference; "" for none
	notCompared    uint64
	live, shadow   histogram
	differences    []Difference // a ring once it is full
	nextDifference int
}

// note counts a pair of answers.
func (t *tally) note(live, shadow answered, found *Difference, ok bool) {
	if !ok {
		t.notCompared++
		return
	}
	if shadow.status != 0 && live.status != 0 {
		t.live.add(live.took)
		t.shadow.add(shadow.took)
	}
	kind := ""
	if found != nil {
		kind = found.Kind
		if len(t.differences) < maxDifferences {
			t.differences = append(t.differences, *found)
		} else {
			t.differences[t.nextDifference] = *found
		}
		t.nextDifference = (t.nextDifference + 1) % maxDifferences
	}
	if t.counts == nil {
		t.counts = map[string]uint64{}
	}
	t.counts[kind]++
}

// report shows the tally.
func (t *tally) report() MirrorReport {
	latest := slices.Clone(t.differences)
	if len(latest) == maxDifferences {
		latest = append(latest[t.nextDifference:], latest[:t.nextDifference]...)
	}
	slices.Reverse(latest)
	if latest == nil {
		latest = []Difference{}
	}
	return MirrorReport{
		Since: t.since.UTC(), Same: t.counts[""], DifferentStatus: t.counts[DifferentStatus], DifferentType: t.counts[DifferentType],
		DifferentBody: t.counts[DifferentBody], ShadowFailed: t.counts[ShadowFailed], NotCompared: t.notCompared,
		NumericTolerance: NumericTolerance, LiveLatency: t.live.summary(), ShadowLatency: t.shadow.summary(), Differences: latest,
	}
}

// MirrorReport returns the report on a deployment as the shadow of a host's
// traffic, and false if it never was one.
func (f *Front) MirrorReport(host, deployment string) (MirrorReport, bool) {
	t := f.find(host)
	if t == nil {
		return MirrorReport{}, false
	}
	if t.shadow != nil && strings.EqualFold(t.shadow.name, deployment) {
		report := t.shadow.queue.report()
		report.Percent = t.shadow.percent
		return report, true
	}
	if t.past != nil && strings.EqualFold(t.past.name, deployment) {
		return t.past.report(), true
	}
	return MirrorReport{}, false
}

func (q *shadowQueue) report() MirrorReport {
	q.mu.Lock()
	defer q.mu.Unlock()
	report := q.tally.report()
	report.Deployment, report.Pending, report.Dropped = q.name, len(q.waiting)+q.running, q.state.Dropped
	return report
}

// histogram counts times in buckets, each larger than the one before by the
// factor bucketGrowth. The zero value is empty.
type histogram struct {
	buckets [bucketCount]uint64
	count   uint64
	max     time.Duration
}

const (
	bucketFirst  = 20 * time.Microsecond // the upper end of the first
	bucketGrowth = 1.15
	bucketCount  = 128 // up to some 17 minutes
)

func (h *histogram) add(d time.Duration) {
	n := 0
	if d > bucketFirst {
		n = int(math.Ceil(math.Log(float64(d)/float64(bucketFirst)) / math.Log(bucketGrowth)))
	}
	h.buckets[min(n, bucketCount-1)]++
	h.count++
	h.max = max(h.max, d)
}

// quantile is a time that a share q of all did not exceed.
func (h *histogram) quantile(q float64) time.Duration {
	rank := uint64(math.Ceil(q * float64(h.count)))
	var seen uint64
	for n, count := range h.buckets {
		if seen += count; seen >= rank && count > 0 && n < bucketCount-1 {
			return min(h.max, time.Duration(float64(bucketFirst)*math.Pow(bucketGrowth, float64(n))))
		}
	}
	return h.max
}

func (h *histogram) summary() Latency {
	return Latency{Count: h.count, P50: milliseconds(h.quantile(0.5)), P95: milliseconds(h.quantile(0.95)), Max: milliseconds(h.max)}
}

// milliseconds, to the microsecond.
func milliseconds(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond).Microseconds()) / 1000
}
