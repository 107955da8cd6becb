package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"time"

	"lapis/client"
)

// platform is a running `lapis up` as its clients see it.
type platform struct {
	program string // the binary
	dir     string // its data folder
	info    client.Info
	http    *http.Client
	pid     int

	up    *exec.Cmd // nil where another process started it
	ended chan error
}

// readyTime bounds a start.
const readyTime = 60 * time.Second

// start runs `lapis up` on a data folder, and says how long it took from the
// spawn to the first token.
func start(ctx context.Context, program, dir, log string) (*platform, time.Duration, error) {
	p := &platform{program: program, dir: dir, ended: make(chan error, 1)}
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, 0, err
	}
	defer out.Close()
	p.up = exec.CommandContext(ctx, program, "up", "--data", dir)
	p.up.Cancel = func() error { return p.up.Process.Signal(os.Interrupt) }
	p.up.WaitDelay = 30 * time.Second
	p.up.Stdout, p.up.Stderr = out, out
	begin := time.Now()
	if err := p.up.Start(); err != nil {
		return nil, 0, err
	}
	go func() { p.ended <- p.up.Wait() }()
	for {
		if err = p.attach(); err == nil {
			if _, err = p.token(audienceARM); err == nil {
				p.pid = p.up.Process.Pid
				return p, time.Since(begin), nil
			}
		}
		select {
		case end := <-p.ended:
			return nil, 0, fmt.Errorf("lapis up ended: %w; its log is %s", errors.Join(end, err), log)
		case <-time.After(time.Millisecond):
		}
		if time.Since(begin) > readyTime {
			return nil, 0, errors.Join(err, p.stop())
		}
	}
}

// attach reads how a platform is reached.
func (p *platform) attach() error {
	info, err := client.Read(p.dir)
	if err != nil {
		return err
	}
	p.info, p.pid = info, info.PID
	p.http, err = httpClient(info.Proxy, info.CABundle)
	return err
}

func (p *platform) stop() error {
	if p.up == nil {
		return nil
	}
	_ = p.up.Process.Signal(os.Interrupt)
	return <-p.ended
}

// httpClient reaches what stands behind a gateway, with HTTP/1.1 as Azure's
// Python libraries do.
func httpClient(proxy, bundle string) (*http.Client, error) {
	pem, err := os.ReadFile(bundle)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	at, err := url.Parse(proxy)
	if err != nil {
		return nil, err
	}
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		Proxy: http.ProxyURL(at), TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: 64, DisableCompression: true,
	}}, nil
}

// call sends a request and wants the status. into takes the body; nil drops it.
func call(c *http.Client, method, address string, header map[string]string, body []byte, want int, into *bytes.Buffer) error {
	req, err := http.NewRequest(method, address, bytes.NewReader(body))
	if err != nil {
		return err
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != want {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return fmt.Errorf("%s %s: %s: %s", method, req.URL.Host+req.URL.Path, resp.Status, text)
	}
	if into != nil {
		into.Reset()
		_, err = into.ReadFrom(resp.Body)
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

const (
	audienceARM     = "https://management.azure.com"
	audienceStorage = "https://storage.azure.com"
)

// token signs the owner in.
func (p *platform) token(audience string) (string, error) {
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {p.info.ClientID}, "client_secret": {p.info.ClientSecret},
		"scope": {audience + "/.default"},
	}
	var out bytes.Buffer
	err := call(p.http, "POST", "https://login.microsoftonline.com/"+p.info.TenantID+"/oauth2/v2.0/token",
		map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, []byte(form.Encode()), http.StatusOK, &out)
	if err != nil {
		return "", err
	}
	var answer struct {
		Token string `json:"access_token"`
	}
	return answer.Token, json.Unmarshal(out.Bytes(), &answer)
}

// env leads the commands of a shell to the platform.
func (p *platform) env() []string {
	return append(append(os.Environ(), p.info.Env(os.Getenv)...), "LAPIS_DATA="+p.dir)
}

// az runs a command of the az command line in a folder; extra are variables.
func (p *platform) az(ctx context.Context, dir string, args ...string) (stdout, stderr string, err error) {
	cmd := exec.CommandContext(ctx, p.program, args...)
	cmd.Dir, cmd.Env = dir, p.env()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", "", fmt.Errorf("lapis %s: %w\n%s", strings.Join(args, " "), err, errs.String())
	}
	return strings.TrimSpace(out.String()), errs.String(), nil
}

// allow gives the owner a role on a storage account, and returns its id.
func (p *platform) allow(ctx context.Context, account, role string) error {
	id, _, err := p.az(ctx, "", "storage", "account", "show", "--name", account, "--query", "id", "-o", "tsv")
	if err != nil {
		return err
	}
	_, _, err = p.az(ctx, "", "role", "assignment", "create", "--assignee", p.info.ClientID, "--role", role, "--scope", id)
	return err
}
