// Package scoring answers the scoring URIs of online endpoints: it checks the
// caller, picks a deployment by header or weight, waits for a free slot of an
// instance, and hands on what the script answers.
//
// A [Pool] keeps N instances of one script alive: it starts them, probes them,
// restarts those that end, and queues requests before them. A [Front] is the
// http.Handler before the pools; its routes are an immutable table behind one
// pointer, so that a change of traffic never stops a request.
//
// Promises: an instance runs one request at a time, and holds no more ready
// than it does in about a millisecond; no request stays behind a slow one for
// longer than some milliseconds while another instance is idle; a request
// whose client has gone before its turn is not run; one that takes longer than
// the request timeout is answered 408 and its instance is replaced, and what
// lay ready behind it is answered by another; a pool that is closed first
// finishes what it has; no live request ever waits for a mirrored one, nor for
// the comparison of both answers; a request holds no seat before its body is
// here, and the bodies of all requests stay within a bound.
//
// The package knows neither Azure's resources nor its identities: it is given
// a function that authorizes, and pools.
package scoring
