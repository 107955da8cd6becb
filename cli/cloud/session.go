package cloud

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"

	"lapis/client"
)

// Session is one command's talk with the platform.
type Session struct {
	*Settings
	ARM   string                      // base URL of the resource manager
	Login string                      // base URL of the issuer
	Graph string                      // base URL of the directory
	Blob  func(account string) string // base URL of an account's blobs
	HTTP  *http.Client
	Debug func(format string, args ...any) // nil: silent
	Now   func() time.Time                 // nil: time.Now
	Sleep func(context.Context, time.Duration) error

	tokens map[string]Token
}

// NewSession makes a session with Azure's public names. It does no I/O beyond
// reading the certificates.
func NewSession(s *Settings) (*Session, error) {
	transport, err := s.transport()
	if err != nil {
		return nil, err
	}
	return &Session{
		Settings: s,
		ARM:      "https://management.azure.com",
		Login:    "https://login.microsoftonline.com",
		Graph:    "https://graph.microsoft.com",
		Blob:     func(account string) string { return "https://" + account + ".blob.core.windows.net" },
		HTTP: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // none of the services redirects; a credential never follows
		}},
	}, nil
}

func (s *Settings) transport() (*http.Transport, error) {
	t := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConnsPerHost: 4,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if !s.FromEnv {
		proxy, err := url.Parse(s.Proxy)
		if err != nil {
			return nil, err
		}
		t.Proxy = func(r *http.Request) (*url.URL, error) {
			if host := r.URL.Hostname(); host == "localhost" || net.ParseIP(host).IsLoopback() {
				return nil, nil
			}
			return proxy, nil
		}
	}
	if s.CABundle == "" {
		return t, nil
	}
	pem, err := os.ReadFile(s.CABundle)
	if err != nil {
		return nil, fmt.Errorf("the CA bundle cannot be read: %v", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("the CA bundle %s holds no certificate", s.CABundle)
	}
	t.TLSClientConfig.RootCAs = pool
	return t, nil
}

func (s *Session) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

func (s *Session) sleep(ctx context.Context, d time.Duration) error {
	if s.Sleep != nil {
		return s.Sleep(ctx, d)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

func (s *Session) debug(format string, args ...any) {
	if s.Debug != nil {
		s.Debug(format, args...)
	}
}

// Answer is a response whose body has been read.
type Answer struct {
	*http.Response
	Data []byte
}

// maxAnswer bounds the bodies that are read into memory.
const maxAnswer = 64 << 20

// retries is how often a request that may be repeated is.
const retries = 3

// Do sends the request and reads the answer. Requests that change nothing when
// repeated are, after 429 and the passing kinds of 5xx. The caller judges the
// status.
func (s *Session) Do(ctx context.Context, method, target string, header http.Header, body []byte) (*Answer, error) {
	for try := 0; ; try++ {
		answer, err := s.once(ctx, method, target, header, body)
		if err != nil {
			return nil, s.explain(err)
		}
		if try == retries || !repeatable(method, answer.StatusCode) {
			return answer, nil
		}
		wait, ok := RetryDelay(answer.Header, s.now())
		if !ok {
			wait = 500 * time.Millisecond << try
		}
		s.debug("answered %d, once more in %v", answer.StatusCode, wait)
		if err := s.sleep(ctx, min(wait, time.Minute)); err != nil {
			return nil, err
		}
	}
}

func repeatable(method string, status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return method != http.MethodPost && method != http.MethodPatch
	}
	return false
}

func (s *Session) once(ctx context.Context, method, target string, header http.Header, body []byte) (*Answer, error) {
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, reader)
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	if req.Header.Get("x-ms-client-request-id") == "" {
		req.Header.Set("x-ms-client-request-id", uuid.NewString())
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", "lapis-cli")
	}
	start := s.now()
	resp, err := s.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxAnswer {
		return nil, fmt.Errorf("the answer of %s is larger than %d MiB", req.URL.Host, maxAnswer>>20)
	}
	s.debug("%s %s -> %d, %d bytes, %v", method, Redact(req.URL), resp.StatusCode, len(data), s.now().Sub(start).Round(time.Millisecond))
	return &Answer{Response: resp, Data: data}, nil
}

// Redact writes a URL without the signature of a SAS.
func Redact(u *url.URL) string {
	query := u.Query()
	if !query.Has("sig") {
		return u.String()
	}
	query.Set("sig", "secret")
	clean := *u
	clean.RawQuery = query.Encode()
	return clean.String()
}

// explain turns the failures of getting through into something to act on, and
// keeps signatures out of the text.
func (s *Session) explain(err error) error {
	var failed *url.Error
	if errors.As(err, &failed) {
		if u, perr := url.Parse(failed.URL); perr == nil {
			failed.URL = Redact(u)
		}
	}
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		if s.FromEnv {
			return fmt.Errorf("nothing listens at %s (HTTPS_PROXY): %w", s.Proxy, client.ErrNotRunning)
		}
		return fmt.Errorf("nothing listens at %s any more: %w", s.Proxy, client.ErrNotRunning)
	case errors.As(err, &unknown):
		return fmt.Errorf("%v\nthe certificate is not one that REQUESTS_CA_BUNDLE knows; run eval \"$(lapis env)\" anew", err)
	}
	return err
}

// RetryDelay reads how long the service asks to wait: milliseconds where it
// gives them, else seconds or a date.
func RetryDelay(h http.Header, now time.Time) (time.Duration, bool) {
	for _, name := range []string{"retry-after-ms", "x-ms-retry-after-ms"} {
		if ms, err := strconv.ParseFloat(strings.TrimSpace(h.Get(name)), 64); err == nil && ms >= 0 && ms < 1e9 {
			return time.Duration(ms * float64(time.Millisecond)), true
		}
	}
	text := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseFloat(text, 64); err == nil && seconds >= 0 && seconds < 1e6 {
		return time.Duration(seconds * float64(time.Second)), true
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), 0), true
	}
	return 0, false
}
