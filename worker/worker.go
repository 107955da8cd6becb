// Package worker is the seam between scoring and whatever runs a user's
// scoring script: a process on this machine (package process), later a pod.
//
// A Runtime starts instances of a Spec. An instance is one running copy of a
// script: it becomes ready after init(), answers requests with run(), tells
// when it has ended and why, and can be probed while it is busy. It behaves
// like the HTTP server of Azure's inference images, without the sockets:
// Score takes a method and a path, and gives the answer of that server.
//
// The package knows nothing of Azure's resources; it is told what to run.
package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"time"
)

// Spec says what one instance runs.
type Spec struct {
	Name   string   // for logs, such as "my-endpoint/blue/0"
	Python string   // the interpreter's path
	Dir    string   // the app root and working folder, absolute
	Script string   // the entry script, relative to Dir
	Env    []string // the whole environment, as NAME=value; nothing is inherited

	// Log takes the console: whole lines, already formatted, from several goroutines
	// one at a time. It must not block for long. nil drops them.
	Log io.Writer

	// InitTimeout ends an instance that is not ready in time. 0 means never.
	InitTimeout time.Duration

	// Trust names those who may share a process's beginnings: an instance may be
	// forked from a process that has imported packages of the environment for
	// others of the same interpreter and Trust. "" means a process of its own
	// from its first instruction on.
	Trust string

	// Limits bound the instance with all that it starts. How they are held
	// is the runtime's to say.
	Limits Limits
}

// Limits bound what one instance may use. 0 means no bound.
type Limits struct {
	CPU       float64 // processors, such as 0.5 or 4
	Memory    int64   // bytes
	Processes int     // processes, or processes and threads, as the machine counts
}

// Usage is what an instance uses, with all that it has started.
type Usage struct {
	CPU       time.Duration // user and system time since the start
	Memory    int64         // resident bytes now; shared pages count once for each instance
	Processes int           // running now
}

// Metered is an Instance that can tell what it uses. An instance that has
// ended gives ErrExited.
type Metered interface {
	Usage() (Usage, error)
}

// Runtime starts instances.
type Runtime interface {
	// Start returns once the instance has been started, not when it is ready.
	// ctx covers the start alone, not the life of the instance.
	Start(ctx context.Context, spec Spec) (Instance, error)
}

// Instance is one running copy of a scoring script. Its methods may be called
// from several goroutines.
type Instance interface {
	// Ready is closed when init() has returned.
	Ready() <-chan struct{}

	// Done is closed when the instance has ended and nothing of it is left.
	Done() <-chan struct{}

	// Err says why the instance ended: nil after Stop, else an *ExitError.
	// It is valid once Done is closed.
	Err() error

	// Score gives the inference server's answer, whatever its status. Several
	// may be under way: the instance runs them one after the other, in the
	// order in which it was given them.
	// It returns ErrNotTaken if the instance has ended without beginning the
	// request, ErrGivenBack after Recall, ErrExited if the instance ends before
	// it has answered, ctx's error if ctx ends first, and
	// context.DeadlineExceeded when the request has Expired: what the script
	// has not begun is then not run, and from what it has begun only Stop gets
	// it off. Neither covers the answer's Stream.
	Score(ctx context.Context, req *Request) (*Response, error)

	// Recall has the instance give back the requests that it has not begun,
	// as soon as it can. It does not wait.
	Recall()

	// Probe returns nil if the instance lives, however busy its script is.
	Probe(ctx context.Context) error

	// Stop asks the instance to end, and kills it after a grace or when ctx
	// ends, whichever is first. It returns when the instance is gone.
	Stop(ctx context.Context) error
}

// Request is one call of the inference server.
type Request struct {
	ID       string // becomes x-request-id
	Method   string
	Path     string // decoded, such as /score
	RawQuery string
	Host     string
	Header   http.Header // as the client sent it, in canonical names; not to be changed. See Visible
	Body     []byte

	// Expired is closed when the request's time is over: requests that come
	// together share one, which costs less than a context for each. nil means
	// that its time has no end.
	Expired <-chan struct{}

	// Done is called once, when the instance has done with the request,
	// whether Score's caller still waits or not: with how long it was busy
	// with it, 0 if it never ran it. It must not block. nil is allowed.
	Done func(busy time.Duration)
}

// Visible are the headers that the script may see: no credential, and nothing
// that belongs to the connection.
func (r *Request) Visible() iter.Seq2[string, []string] {
	return func(yield func(string, []string) bool) {
		if r.Host != "" && !yield("Host", []string{r.Host}) {
			return
		}
		for name, values := range r.Header {
			if hidden(name) || name == "Host" && r.Host != "" {
				continue
			}
			if !yield(name, values) {
				return
			}
		}
	}
}

func hidden(name string) bool {
	switch name {
	case "Authorization", "Proxy-Authorization", "Proxy-Connection", "Connection", "Keep-Alive", "Te", "Trailer",
		"Transfer-Encoding", "Upgrade", "X-Request-Id":
		return true
	}
	return false
}

// Response is the inference server's answer.
type Response struct {
	Status  int
	Header  Header
	Body    []byte
	Stream  Stream        // what follows Body; nil if that is all
	RunTime time.Duration // what run() took; 0 if it did not return
}

// Stream is the rest of an answer that a script makes while it is read. It has
// one reader. The script waits while little of what it has made is taken, and
// the instance runs nothing else until the stream has ended.
type Stream interface {
	// Next returns the next piece. Its errors are io.EOF after the last one,
	// ErrBroken, ErrExited, and ctx's if ctx ends first.
	Next(ctx context.Context) ([]byte, error)

	// Close must be called, and may be early: the script is then told at its
	// next piece that nobody reads any more. It does not wait for that.
	Close()
}

// ErrNotTaken means that an instance ended before it began the request, which
// can be given to another.
var ErrNotTaken = errors.New("the instance ended before it began the request")

// ErrGivenBack means that an instance has given a request back that it has
// not begun. It can be given to another, or again to the same one.
var ErrGivenBack = errors.New("the instance gave the request back")

// ErrBroken means that a script failed when it had answered in part.
var ErrBroken = errors.New("the script failed while it sent its answer")

// ErrExited means that an instance ended while it had the request.
var ErrExited = errors.New("the instance ended before it had answered")

// The stages of an instance's life, as an ExitError names them.
const (
	StageStart  = "start"  // the interpreter had not reached the script
	StageImport = "import" // the script was being imported
	StageInit   = "init"   // init() was running
	StageRun    = "run"    // the instance had been ready
)

// The codes of an ExitError. The first three and PodOutOfMemory are Azure's.
const (
	CodeImportError      = "UserScriptImportError"
	CodeInitFailed       = "UserScriptInitFailed"
	CodeFunctionNotFound = "UserScriptFunctionNotFound"
	CodeStartFailed      = "WorkerStartFailed"
	CodeExited           = "UserScriptExited"
	CodeOutOfMemory      = "PodOutOfMemory"   // the limit of memory was reached
	CodeTooManyProcesses = "TooManyProcesses" // the limit of processes was reached, where it is watched only
)

// ExitError says why an instance ended by itself.
type ExitError struct {
	Stage     string // one of the Stage constants
	Code      string // one of the Code constants
	Type      string // the Python exception's type, "" if there was none
	Message   string // one sentence or more for the script's author
	Traceback string // Python's, or the console's last lines; "" if there is nothing
	Status    string // how the process ended, such as "exit status 3"
}

// Error returns code and message.
func (e *ExitError) Error() string { return fmt.Sprintf("%s: %s", e.Code, e.Message) }
