package dataplane_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lapis/blob"
	"lapis/content"
	"lapis/content/disk"
	"lapis/store"
	"lapis/store/sqlite"
)

const crashFolder = "LAPIS_TEST_BLOB_CRASH"

// TestMain lets the test binary be the server that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(crashFolder); dir != "" {
		if err := serveUntilKilled(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func openAll(dir string) (store.Store, content.Store, error) {
	records, err := sqlite.Open(filepath.Join(dir, "records.db"))
	if err != nil {
		return nil, nil, err
	}
	bytes, err := disk.Open(filepath.Join(dir, "content"))
	return records, bytes, err
}

func serveUntilKilled(dir string) error {
	records, bytes, err := openAll(dir)
	if err != nil {
		return err
	}
	w := newWorldOn(&testing.B{}, records, bytes)
	w.owner(call{})
	if _, err := w.service.CreateContainer(context.Background(), w.account.Space(), "data", nil); err != nil && !strings.Contains(err.Error(), "ContainerAlreadyExists") {
		return err
	}
	server := httptest.NewServer(w.handler)
	fmt.Println(server.URL)
	select {}
}

// writer keeps overwriting blobs of its own and knows what was acknowledged.
type writer struct {
	id      int
	acked   map[string]string // blob to the last content that was acknowledged
	pending map[string]string // content under way when the server died
}

func (c *writer) run(url string, acked func()) {
	for n := 0; ; n++ {
		name := fmt.Sprintf("w%d-%d", c.id, n%7)
		body := strings.Repeat(fmt.Sprintf("%d/%d/%x;", c.id, n, sha256.Sum256(fmt.Append(nil, c.id, n))), 1+n%40*30)
		c.pending[name] = body
		if !c.put(url, name, body, n%3 == 0) {
			return
		}
		delete(c.pending, name)
		c.acked[name] = body
		acked()
	}
}

// put stores a blob in one request or, as blocks, in three.
func (c *writer) put(url, name, body string, asBlocks bool) bool {
	send := func(query, body string) bool {
		r, _ := http.NewRequest("PUT", url+"/data/"+name+query, strings.NewReader(body))
		r.Host = accountHost
		r.Header.Set("Authorization", "Bearer token-of-owner")
		r.Header.Set("x-ms-version", "2021-12-02")
		r.Header.Set("x-ms-blob-type", "BlockBlob")
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			return false
		}
		defer res.Body.Close()
		_, _ = io.Copy(io.Discard, res.Body)
		return res.StatusCode == http.StatusCreated
	}
	if !asBlocks {
		return send("", body)
	}
	half := len(body) / 2
	return send("?comp=block&blockid=MDAx", body[:half]) && send("?comp=block&blockid=MDAy", body[half:]) &&
		send("?comp=blocklist", "<BlockList><Latest>MDAx</Latest><Latest>MDAy</Latest></BlockList>")
}

func TestAcknowledgedBlobsSurviveKill(t *testing.T) {
	dir := t.TempDir()
	writers := make([]*writer, 6)
	for i := range writers {
		writers[i] = &writer{id: i, acked: map[string]string{}, pending: map[string]string{}}
	}
	for round := range 4 {
		killUnderLoad(t, dir, writers, int64(30+60*round))
		check(t, dir, writers)
	}
}

// killUnderLoad starts a server and kills it once it has acknowledged so many writes.
func killUnderLoad(t *testing.T, dir string, writers []*writer, enough int64) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashFolder+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal("the server did not start: ", err)
	}
	var acks atomic.Int64
	reached := make(chan struct{})
	acked := func() {
		if acks.Add(1) == enough {
			close(reached)
		}
	}
	var wg sync.WaitGroup
	for _, c := range writers {
		clear(c.pending)
		wg.Go(func() { c.run(strings.TrimSpace(line), acked) })
	}
	select {
	case <-reached:
	case <-time.After(20 * time.Second):
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	wg.Wait()
	if acks.Load() < enough {
		t.Fatalf("only %d writes were acknowledged", acks.Load())
	}
}

// check opens what the dead server left, sweeps it, and holds it against what
// it had acknowledged.
func check(t *testing.T, dir string, writers []*writer) {
	t.Helper()
	records, bytes, err := openAll(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer records.Close()
	defer bytes.Close()
	w := newWorldOn(t, records, bytes)
	if err := w.service.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range writers {
		for name, want := range c.acked {
			got := text(w.must(200, get("/data/"+name)))
			if got != want && got != c.pending[name] {
				t.Errorf("%s: %d bytes, of which %.20q..., not the %d that were acknowledged", name, len(got), got, len(want))
			} else {
				c.acked[name] = got
			}
		}
	}
	checkPending(t, w, writers)
	page, err := w.service.ListBlobs(t.Context(), w.account.Space(), "data", blob.ListBlobs{Max: 5000})
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, item := range page.Items {
		list, err := w.service.Blocks(t.Context(), blob.Place{Space: w.account.Space(), Container: "data", Name: item.Blob.Name})
		if err != nil {
			t.Fatal(err)
		}
		named += max(1, len(list.Committed)) + len(list.Uncommitted)
	}
	keys, err := bytes.List(t.Context(), "blob/")
	if err != nil {
		t.Fatal(err)
	}
	if waiting := stagedOnly(t, w); len(keys) != named+waiting {
		t.Errorf("%d pieces of content, %d of them named: the sweep left some", len(keys), named+waiting)
	}
}

// checkPending looks at the writes that were under way: whole, or not there.
func checkPending(t *testing.T, w *world, writers []*writer) {
	t.Helper()
	for _, c := range writers {
		for name, body := range c.pending {
			if c.acked[name] != "" {
				continue // checked with what was acknowledged before
			}
			if res := w.do(w.owner(get("/data/" + name))); res.StatusCode != 404 && text(res) != body {
				t.Errorf("%s: torn", name)
			}
		}
	}
}

// stagedOnly counts the blocks of blobs that were never committed.
func stagedOnly(t *testing.T, w *world) (n int) {
	t.Helper()
	page, err := w.service.ListBlobs(t.Context(), w.account.Space(), "data", blob.ListBlobs{Max: 5000, Uncommitted: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range page.Items {
		if !item.Blob.Uncommitted {
			continue
		}
		list, err := w.service.Blocks(t.Context(), blob.Place{Space: w.account.Space(), Container: "data", Name: item.Blob.Name})
		if err != nil {
			t.Fatal(err)
		}
		n += len(list.Uncommitted)
	}
	return n
}
