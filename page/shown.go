package page

import (
	"time"

	"lapis/fault"
)

// State is what the page shows, as of now. Counters only grow: rates are the
// reader's to make of two states.
type State struct {
	Time      time.Time  `json:"time"`
	Version   string     `json:"version"`
	Bounds    []float64  `json:"bounds"` // in seconds, of Deployment.Buckets
	Counts    Counts     `json:"counts"`
	Endpoints []Endpoint `json:"endpoints"`
	Left      int        `json:"left"` // endpoints that are not among these: at zero and well, or beyond what is shown at once
	Denials   []Denial   `json:"denials"`
	Forgotten int        `json:"forgotten"` // denials that are kept and not shown
}

// Counts are of the whole platform.
type Counts struct {
	Endpoints   int `json:"endpoints"`
	Deployments int `json:"deployments"`
	Awake       int `json:"awake"` // deployments with instances
	Asleep      int `json:"asleep"`
	Failed      int `json:"failed"`
	Changing    int `json:"changing"`
	Instances   int `json:"instances"` // that are ready
}

// Endpoint is one of those that are shown in full.
type Endpoint struct {
	ID          string         `json:"id"`
	Name        string         `json:"name"`
	State       string         `json:"state"`
	AuthMode    string         `json:"authMode"`
	ScoringURI  string         `json:"scoringUri"`
	Failure     *Failure       `json:"failure,omitempty"`
	Refused     map[int]uint64 `json:"refused,omitempty"` // by status, before a deployment was picked
	Deployments []Deployment   `json:"deployments"`
	Identities  []Identity     `json:"identities"`
}

// Deployment is one of an endpoint.
type Deployment struct {
	ID           string         `json:"id"`
	Name         string         `json:"name"`
	State        string         `json:"state"`
	Progress     string         `json:"progress,omitempty"` // what is being done, while it changes
	Failure      *Failure       `json:"failure,omitempty"`
	InstanceType string         `json:"instanceType"`
	Traffic      int            `json:"traffic"` // percent
	Mirror       int            `json:"mirror"`  // percent
	Served       bool           `json:"served"`  // it has a place behind the endpoint's address
	Wanted       int            `json:"wanted"`
	Ready        int            `json:"ready"`
	Asleep       bool           `json:"asleep"`
	Queued       int            `json:"queued"`
	InFlight     int            `json:"inFlight"`
	Restarts     uint64         `json:"restarts"`
	Throttled    uint64         `json:"throttled"`
	ColdStarts   uint64         `json:"coldStarts"`
	Memory       int64          `json:"memory"` // bytes, of all instances
	Statuses     map[int]uint64 `json:"statuses,omitempty"`
	Requests     uint64         `json:"requests"`
	Buckets      []uint64       `json:"buckets,omitempty"`
}

// Failure is why something failed.
type Failure struct {
	Code    string        `json:"code"`
	Message string        `json:"message"`
	Denial  *fault.Denial `json:"denial,omitempty"`
}

// Identity is what an endpoint runs under, and what that may reach.
type Identity struct {
	ObjectID string  `json:"objectId"`
	Kind     string  `json:"kind"`
	Name     string  `json:"name"` // of the resource that carries it
	Grants   []Grant `json:"grants"`
	Left     int     `json:"left"` // grants that are not shown
}

// Grant is a role at a scope.
type Grant struct {
	Role  string `json:"role"`
	Scope string `json:"scope"`
}

// Denial is a refusal, and what would have allowed it.
type Denial struct {
	fault.Denial
	Who     string    `json:"who"`  // display name, "" if there is no such principal any more
	Kind    string    `json:"kind"` // of the principal
	Plane   string    `json:"plane"`
	Data    bool      `json:"dataAction"`
	Times   int       `json:"times"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
	Allowed bool      `json:"allowed"` // it would be allowed now
}
