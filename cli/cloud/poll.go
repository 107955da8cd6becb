package cloud

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Progress is told what a long operation says of itself, each time that it
// says something new.
type Progress func(text string)

// Wait follows a long operation to its end: by Azure-AsyncOperation, else by
// Location, else by the resource's own provisioningState. The result is the
// resource as it then is, or nil after a DELETE or POST.
func (s *Session) Wait(ctx context.Context, first *Reply, progress Progress) (Object, error) {
	p := poller{Session: s, first: first, progress: progress}
	switch {
	case first.Header.Get("Azure-AsyncOperation") != "":
		return p.operation(ctx, first.Header.Get("Azure-AsyncOperation"))
	case first.StatusCode == http.StatusAccepted && first.Header.Get("Location") != "":
		return p.location(ctx, first.Header.Get("Location"))
	case p.changes() && !terminal(provisioning(first.Object())):
		return p.resource(ctx)
	}
	if state := provisioning(first.Object()); failed(state) {
		return nil, OperationFailure(state, nil)
	}
	return first.Object(), nil
}

type poller struct {
	*Session
	first    *Reply
	progress Progress
	said     string
	pause    time.Duration
}

// changes reports whether the request leaves a resource behind.
func (p *poller) changes() bool {
	return p.first.request.Method == http.MethodPut || p.first.request.Method == http.MethodPatch
}

func (p *poller) get(ctx context.Context, target string) (*Reply, error) {
	id := p.first.request.Header.Get("x-ms-client-request-id")
	return p.Call(ctx, Request{Path: target, Header: http.Header{"X-Ms-Client-Request-Id": {id}}})
}

// rest waits as long as the answer asks for. Where it asks for nothing, the
// pauses grow from a tenth of a second to five.
func (p *poller) rest(ctx context.Context, h http.Header) error {
	if wait, ok := RetryDelay(h, p.now()); ok && wait > 0 {
		return p.sleep(ctx, min(wait, time.Minute))
	}
	p.pause = min(max(2*p.pause, 100*time.Millisecond), 5*time.Second)
	return p.sleep(ctx, p.pause)
}

func (p *poller) operation(ctx context.Context, target string) (Object, error) {
	for {
		reply, err := p.get(ctx, target)
		if err != nil {
			return nil, err
		}
		body := reply.Object()
		status, _ := body["status"].(string)
		p.say(body)
		switch {
		case status == "":
			return nil, fmt.Errorf("the operation at %s has no status", target)
		case failed(status):
			return nil, OperationFailure(status, body["error"])
		case terminal(status) && p.changes():
			return p.Get(ctx, p.first.request.Path, "")
		case terminal(status):
			return nil, nil
		}
		if next := reply.Header.Get("Azure-AsyncOperation"); next != "" {
			target = next
		}
		if err := p.rest(ctx, reply.Header); err != nil {
			return nil, err
		}
	}
}

func (p *poller) location(ctx context.Context, target string) (Object, error) {
	for {
		reply, err := p.get(ctx, target)
		if err != nil {
			return nil, err
		}
		if reply.StatusCode != http.StatusAccepted {
			if p.changes() && len(reply.Object()) == 0 {
				return p.Get(ctx, p.first.request.Path, "")
			}
			return reply.Object(), nil
		}
		p.say(reply.Object())
		if next := reply.Header.Get("Location"); next != "" {
			target = next
		}
		if err := p.rest(ctx, reply.Header); err != nil {
			return nil, err
		}
	}
}

func (p *poller) resource(ctx context.Context) (Object, error) {
	header := p.first.Header
	for {
		if err := p.rest(ctx, header); err != nil {
			return nil, err
		}
		reply, err := p.get(ctx, p.first.request.Path)
		if err != nil {
			return nil, err
		}
		header = reply.Header
		p.say(reply.Object())
		state := provisioning(reply.Object())
		if failed(state) {
			return nil, OperationFailure(state, nil)
		}
		if terminal(state) {
			return reply.Object(), nil
		}
	}
}

// say passes on the operation's own words: properties.progress, a text or an
// object with a message, and the percentage where there is one.
func (p *poller) say(body Object) {
	if p.progress == nil {
		return
	}
	text := words(body["progress"])
	if props, ok := body["properties"].(Object); ok && text == "" {
		text = first(words(props["progress"]), words(props["statusMessage"]))
	}
	if percent, ok := body["percentComplete"].(float64); ok && percent > 0 && percent < 100 {
		text = strings.TrimSpace(fmt.Sprintf("%s (%.0f%%)", text, percent))
	}
	if text != "" && text != p.said {
		p.said = text
		p.progress(text)
	}
}

func words(v any) string {
	switch v := v.(type) {
	case string:
		return strings.TrimSpace(v)
	case Object:
		return first(words(v["message"]), words(v["stage"]))
	case []any:
		if len(v) > 0 {
			return words(v[len(v)-1])
		}
	}
	return ""
}

func provisioning(body Object) string {
	props, _ := body["properties"].(Object)
	state, _ := props["provisioningState"].(string)
	return state
}

func terminal(status string) bool {
	switch strings.ToLower(status) {
	case "", "succeeded", "failed", "canceled", "cancelled":
		return true
	}
	return false
}

func failed(status string) bool {
	return terminal(status) && status != "" && !strings.EqualFold(status, "succeeded")
}
