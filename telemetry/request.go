package telemetry

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"lapis/logline"
)

// Request is one scored request, after its answer. It has the fields of
// scoring.Event, so that the wiring converts one into the other.
type Request struct {
	Endpoint        string // "" if the host name led to none
	Deployment      string // "" if none was picked
	Route           string // score, swagger, liveness or other
	Method          string
	Path            string
	Protocol        string // such as HTTP/1.1
	AuthMode        string // "" if nobody was let in
	Status          int    // what the client got; 499 if it had gone
	ModelStatus     int    // what the script answered; 0 if it did not
	Reason          string // "" if all was well
	RequestID       string
	ClientRequestID string
	UserAgent       string
	RequestBytes    int
	ResponseBytes   int
	Total           time.Duration
	Queued          time.Duration // before an instance had it
	Model           time.Duration // in the instance
	Run             time.Duration // in run()
	Err             error
}

// Which requests have a line.
const (
	LinesAll      = "all"
	LinesFailures = "failures" // the platform's own and scripts', not clients'
	LinesNone     = "none"
)

// AccessLine writes the one line of a request, if it is one of those that have
// any: the columns of Azure's AmlOnlineEndpointTrafficLog, as far as there is
// something to tell. It is an error where the platform or the script failed,
// else information. A [logline.TextHandler] draws it at a fifth of the cost.
func AccessLine(ctx context.Context, log *slog.Logger, lines string, r *Request) {
	level, failed := slog.LevelInfo, r.Status >= 500 || r.Status == http.StatusFailedDependency
	if failed {
		level = slog.LevelError
	}
	if lines == LinesNone || lines == LinesFailures && !failed || !log.Enabled(ctx, level) {
		return
	}
	if direct, ok := log.Handler().(*logline.TextHandler); ok && r.Err == nil {
		line := direct.Begin(time.Now(), level, scored)
		r.columns(ctx, line)
		line.End()
		return
	}
	attrs := make(attrs, 0, 24)
	r.columns(ctx, &attrs)
	if r.Err != nil {
		attrs = append(attrs, slog.Any("err", r.Err))
	}
	log.LogAttrs(ctx, level, scored, attrs...)
}

// scored is the message of each line.
const scored = "scored"

// columns take the columns of a line.
type columns interface {
	Text(key, value string)
	Int(key string, value int)
	Duration(key string, value time.Duration)
}

// columns tells a request, but for its error.
func (r *Request) columns(ctx context.Context, to columns) {
	text := func(key, value string) {
		if value != "" {
			to.Text(key, value)
		}
	}
	number := func(key string, value int) {
		if value != 0 {
			to.Int(key, value)
		}
	}
	text("endpoint", r.Endpoint)
	text("deployment", r.Deployment)
	text("method", r.Method)
	text("path", r.Path)
	text("protocol", r.Protocol)
	text("auth", r.AuthMode)
	number("status", r.Status)
	number("model_status", r.ModelStatus)
	text("reason", r.Reason)
	number("request_bytes", r.RequestBytes)
	number("response_bytes", r.ResponseBytes)
	to.Duration("total", r.Total)
	to.Duration("queued", r.Queued)
	to.Duration("model", r.Model)
	to.Duration("run", r.Run)
	text("request_id", r.RequestID)
	text("client_request_id", r.ClientRequestID)
	text("trace_id", traceID(ctx))
	text("user_agent", r.UserAgent)
}

// attrs are columns for any handler of slog's.
type attrs []slog.Attr

func (a *attrs) Text(key, value string) { *a = append(*a, slog.String(key, value)) }

func (a *attrs) Int(key string, value int) { *a = append(*a, slog.Int(key, value)) }

func (a *attrs) Duration(key string, value time.Duration) { *a = append(*a, slog.Duration(key, value)) }
