// Package scoring answers the scoring URIs of online endpoints: it checks the
// caller, picks a deployment by header or weight, waits for a free slot of an
// instance, and hands on what the script answers.
//
// A [Pool] keeps N instances of one script alive: it starts them, probes them,
// restarts those that end, and queues requests before them. A [Front] is the
// http.Handler before the pools; its routes are an immutable table behind one
// pointer, so that a change of traffic never stops a request.
//
// Promises: at most one request is in an instance; a request whose client has
// gone before its turn is not run; one that takes longer than the request
// timeout is answered 408 and its instance is replaced; a pool that is closed
// first finishes what it has; no live request ever waits for a mirrored one.
//
// The package knows neither Azure's resources nor its identities: it is given
// a function that authorizes, and pools.
package scoring
