// Package telemetry tells operators what the platform does: metrics in
// Prometheus' conventions, traces by OpenTelemetry, and one access line per
// scored request.
//
// It decides nothing and is asked by nobody on the way of a request: it is told
// of what has happened, and reads the rest when somebody looks. Labels and
// attributes hold names of resources, statuses, sizes and times. No body, key,
// token, signature or query string is in any of them. How many series there are
// depends on the deployments that exist, never on what clients send.
package telemetry
