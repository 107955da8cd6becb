package registry

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"lapis/content/disk"
	"lapis/store/sqlite"
)

// crashDir is the variable that makes TestCrashChild serve from a folder.
const crashDir = "REGISTRY_CRASH_DIR"

func openOn(t *testing.T, dir string) *world {
	t.Helper()
	records, err := sqlite.Open(filepath.Join(dir, "records.db"))
	if err != nil {
		t.Fatal(err)
	}
	pieces, err := disk.Open(filepath.Join(dir, "content"))
	if err != nil {
		t.Fatal(err)
	}
	return newWorldOn(t, records, pieces)
}

// TestCrashChild is the process that gets killed.
func TestCrashChild(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		t.Skip("runs as a child of TestAcknowledgedPushesSurviveKill")
	}
	w := openOn(t, dir)
	w.assign("p", pull, push)
	fmt.Println("listening " + w.url)
	select {}
}

func TestAcknowledgedPushesSurviveKill(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills processes")
	}
	dir := t.TempDir()
	var acked []string
	for round := range 3 {
		acked = append(acked, pushUntilKilled(t, dir, round)...)
		func() {
			w := openOn(t, dir)
			defer w.store.Close()
			r := w.svc.Open("alpha")
			for _, tag := range acked {
				pullImage(t.Context(), t, r, "app", tag, newImage(tag))
			}
			swept, err := w.svc.Sweep(t.Context())
			w.ok(err)
			t.Logf("round %d: %d acknowledged images are whole; swept %+v", round, len(acked), swept)
			for _, tag := range acked {
				pullImage(t.Context(), t, r, "app", tag, newImage(tag))
			}
			w.svc.Close()
			w.content.Close()
		}()
	}
}

// pushUntilKilled pushes images from several clients and kills the server in
// the middle. It returns the tags whose push was answered.
func pushUntilKilled(t *testing.T, dir string, round int) []string {
	child := exec.Command(os.Args[0], "-test.run=^TestCrashChild$", "-test.v")
	child.Env = append(os.Environ(), crashDir+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill(); _ = child.Wait() }()
	var addr string
	for lines := bufio.NewScanner(out); addr == "" && lines.Scan(); {
		_, addr, _ = strings.Cut(lines.Text(), "listening https://")
	}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // the child's certificate is its own
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		},
	}
	defer transport.CloseIdleConnections()

	var mu sync.Mutex
	var acked []string
	var wg sync.WaitGroup
	for client := range 4 {
		wg.Go(func() {
			c, err := NewClient(ClientConfig{HTTP: &http.Client{Transport: transport}, LoginServer: alpha,
				Token: func(context.Context) (string, error) { return "aad:p", nil }})
			if err != nil {
				t.Error(err)
				return
			}
			for i := 0; ; i++ {
				tag := fmt.Sprintf("r%d-c%d-%d", round, client, i)
				if err := pushImage(t.Context(), c, "app", tag, newImage(tag)); err != nil {
					return
				}
				mu.Lock()
				if acked = append(acked, tag); len(acked) == 20 {
					_ = child.Process.Kill()
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(acked) < 20 {
		t.Fatalf("the server died after %d pushes", len(acked))
	}
	return acked
}
