package lapis_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lapis"
	"lapis/client"
)

// crashFolder names, in the environment of a child process, the data folder
// that it is to run a platform on.
const crashFolder = "LAPIS_TEST_CRASH_FOLDER"

// TestCrashChild is no test: TestKillLosesNothing runs it as another process.
func TestCrashChild(t *testing.T) {
	dir := os.Getenv(crashFolder)
	if dir == "" {
		t.Skip("it is the child of TestKillLosesNothing")
	}
	server, err := lapis.New(lapis.Config{DataDir: dir, Log: slog.New(slog.NewTextHandler(os.Stdout, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := server.Run(ctx, nil); err != nil {
		t.Fatal(err)
	}
}

// child is a platform in a process of its own, that can be killed.
type child struct {
	t    *testing.T
	dir  string
	log  *os.File
	cmd  *exec.Cmd
	done chan struct{}
	info client.Info
}

// run starts the process and waits until it answers.
func (c *child) run() {
	c.t.Helper()
	c.cmd = exec.Command(os.Args[0], "-test.run=^TestCrashChild$", "-test.timeout=10m")
	c.cmd.Env = append(os.Environ(), crashFolder+"="+c.dir)
	c.cmd.Stdout, c.cmd.Stderr = c.log, c.log
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) { _ = cmd.Wait(); close(done) }(c.cmd, c.done)
	deadline := time.After(30 * time.Second)
	for {
		if info, err := client.Read(c.dir); err == nil && info.PID == c.cmd.Process.Pid {
			c.info = info
			return
		}
		select {
		case <-c.done:
			c.t.Fatalf("the platform did not start again:\n%s", c.tail())
		case <-deadline:
			c.t.Fatalf("the platform does not become ready:\n%s", c.tail())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	<-c.done
}

func (c *child) tail() string {
	data, _ := os.ReadFile(c.log.Name())
	return string(data[max(0, len(data)-4000):])
}

// below lists the processes that work in or for the data folder, but for the
// platform itself.
func (c *child) below() map[int]string {
	found := map[int]string{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == c.cmd.Process.Pid || pid == os.Getpid() {
			continue
		}
		command, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		environ, _ := os.ReadFile("/proc/" + e.Name() + "/environ")
		if len(command) > 0 && (bytes.Contains(command, []byte(c.dir)) || bytes.Contains(environ, []byte(c.dir))) {
			found[pid] = strings.ReplaceAll(string(command), "\x00", " ")
		}
	}
	return found
}

// errLost means that no status came: nobody knows whether the request was done.
var errLost = errors.New("no answer")

// wire is the client's side: plain requests that may fail at any time.
type wire struct {
	info   client.Info
	http   *http.Client
	mu     sync.Mutex
	tokens map[string]string
}

func (w *wire) do(method, address string, header map[string]string, body []byte) (answer, error) {
	a, err := send(w.http, method, address, header, body)
	if a.status == 0 {
		return answer{}, errLost
	}
	if err != nil && a.status < 300 {
		a.text, a.json = "", nil // the status came: that is the acknowledgement
	}
	return a, nil
}

// token logs the owner in; tokens outlive the platform's restarts.
func (w *wire) token(audience string) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t := w.tokens[audience]; t != "" {
		return t, nil
	}
	form := "grant_type=client_credentials&client_id=" + w.info.ClientID + "&client_secret=" + w.info.ClientSecret + "&scope=" + audience + "/.default"
	a, err := w.do("POST", "https://login.microsoftonline.com/"+w.info.TenantID+"/oauth2/v2.0/token",
		map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, []byte(form))
	if err != nil {
		return "", err
	}
	w.tokens[audience] = a.str("access_token")
	return w.tokens[audience], nil
}

func (w *wire) arm(method, path, version string, body any) (answer, error) {
	token, err := w.token(armHost)
	if err != nil {
		return answer{}, err
	}
	var data []byte
	if body != nil {
		data, _ = json.Marshal(body)
	}
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	return w.do(method, armHost+path+sep+"api-version="+version, bearerHeader(token, "Content-Type", "application/json"), data)
}

func (w *wire) blob(method, address string, body []byte) (answer, error) {
	token, err := w.token(storageHost)
	if err != nil {
		return answer{}, err
	}
	header := bearerHeader(token, "x-ms-version", "2021-12-02")
	if method == "PUT" {
		header["x-ms-blob-type"] = "BlockBlob"
	}
	return w.do(method, address, header, body)
}

// Kill the platform at any moment, start it on the same folder, and everything
// that it has acknowledged is there; what served serves again by itself.
func TestKillLosesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes half a minute")
	}
	rounds := 12
	if n, err := strconv.Atoi(os.Getenv("LAPIS_CRASH_ROUNDS")); err == nil && n > 0 {
		rounds = n
	}
	seed := uint64(time.Now().UnixNano())
	if n, err := strconv.ParseUint(os.Getenv("LAPIS_CRASH_SEED"), 10, 64); err == nil {
		seed = n
	}
	t.Logf("LAPIS_CRASH_SEED=%d, %d rounds", seed, rounds)
	random := rand.New(rand.NewPCG(seed, 0))

	c := &child{t: t, dir: filepath.Join(t.TempDir(), "data")}
	var err error
	if c.log, err = os.Create(filepath.Join(t.TempDir(), "platform.log")); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.log.Close() }()
	c.run()
	defer func() { c.kill() }()
	first := c.info
	w := &wire{info: first, http: httpClient(t, first), tokens: map[string]string{}}
	w.http.Timeout = 15 * time.Second
	l := newLedger(t, w)
	l.begin()
	began := time.Now()
	for round := range rounds {
		if time.Since(began) > time.Minute && rounds == 12 {
			t.Logf("stopped after %d rounds: this machine is slow", round)
			break
		}
		f := random.Float64()
		time.Sleep(time.Duration(f * f * float64(4*time.Second))) // the random moment
		alive := c.below()
		c.kill()
		l.pause()
		where := l.where()
		gone := time.Now().Add(3 * time.Second)
		for pid, command := range alive {
			for syscall.Kill(pid, 0) == nil && time.Now().Before(gone) && !ended(pid) {
				time.Sleep(10 * time.Millisecond)
			}
			if syscall.Kill(pid, 0) == nil && !ended(pid) {
				t.Errorf("round %d: the killed platform left process %d: %s", round, pid, command)
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		restart := time.Now()
		c.run()
		if c.info.Proxy != first.Proxy || c.info.ClientSecret != first.ClientSecret || c.info.SubscriptionID != first.SubscriptionID {
			t.Fatalf("round %d: the client's settings are no longer valid: %s became %s", round, first.Proxy, c.info.Proxy)
		}
		ready := time.Since(restart)
		w.http.CloseIdleConnections()
		checked := l.check()
		t.Logf("round %d: killed while %s; ready in %s; %s", round, where, ready.Round(time.Millisecond), checked)
		if t.Failed() {
			t.Fatalf("the platform's log:\n%s", c.tail())
		}
		l.resume()
	}
	l.finish()
	t.Log(l.check())
	if t.Failed() {
		t.Logf("the platform's log:\n%s", c.tail())
	}
}

// ended tells a zombie, and a number that now is another's, from a process.
func ended(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	return strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X")
}
