package telemetry

import "time"

// State is what is true now, read when somebody looks.
type State struct {
	Endpoints []Endpoint
	Tokens    uint64 // signed since the start
}

// Endpoint is an online endpoint.
type Endpoint struct {
	Name        string
	Deployments []Deployment
	Mirror      *Mirror // nil: nothing is mirrored
}

// Deployment is one of an endpoint, and what its instances do.
type Deployment struct {
	Name         string
	Wanted       int // instances
	Ready        int // of them
	Asleep       bool
	Queued       int    // requests that wait for an instance
	InFlight     int    // requests that an instance has
	ColdStarts   uint64 // from no instance to a ready one
	FailedStarts uint64 // from no instance to none
	Restarts     uint64 // of instances
	Throttled    uint64 // requests refused because too many were pending
	Instances    []Instance
}

// Instance is a running copy of a script, with all that it has started.
type Instance struct {
	Index     int
	CPU       time.Duration // since it was started
	Memory    int64         // resident, in bytes
	Processes int
}

// Mirror is how the copies of an endpoint's requests fare.
type Mirror struct {
	Deployment                string
	Pending                   int
	Answered, Failed, Dropped uint64
	Compared                  []Compared
}

// Compared counts pairs of a live answer and a mirrored one.
type Compared struct {
	Result string // one of a few words
	Count  uint64
}
