package lapis_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"lapis"
	"lapis/client"
	"lapis/store"
	"lapis/store/sqlite"
)

// A client that was there before the platform was keeps asking while that
// starts. It may have to wait for an endpoint that exists, but is never told
// that there is none.
func TestEndpointsAreThereFromTheFirstRequestAfterARestart(t *testing.T) {
	const count = 1500
	dir := t.TempDir()
	p := start(t, dir)
	p.wait(p.must(p.arm("PUT", p.endpoint("there-0000"), mlVersion, object{"location": p.info.Location, "properties": object{"authMode": "AMLToken"}}), 201))
	p.stop()
	copyEndpoint(t, dir, "there-0000", count)
	last := fmt.Sprintf("there-%04d", count-1)

	server, err := lapis.New(lapis.Config{DataDir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(name string) chan answer { // the port is the one of before, and bound already
		answered := make(chan answer, 1)
		go func() {
			http := httpClient(t, p.info)
			req, _ := newScore(name, p.info)
			resp, err := http.Do(req)
			if err != nil {
				answered <- answer{text: err.Error()}
				return
			}
			defer func() { _ = resp.Body.Close() }()
			text, _ := io.ReadAll(resp.Body)
			answered <- answer{status: resp.StatusCode, header: resp.Header, text: string(text)}
		}()
		return answered
	}
	existing, missing := ask(last), ask("nothere")
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan client.Info, 1), make(chan error, 1)
	go func() { done <- server.Run(ctx, func(i client.Info) { ready <- i }) }()
	if a := <-existing; a.status != 401 {
		t.Errorf("an endpoint that exists, while the platform starts: %d %s", a.status, a.text)
	}
	if a := <-missing; a.status != 404 || !strings.Contains(a.text, "EndpointNotFound") {
		t.Errorf("one that does not exist: %d %s", a.status, a.text)
	}
	<-ready
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func newScore(endpoint string, info client.Info) (*http.Request, error) {
	req, err := http.NewRequest("POST", "https://"+endpoint+"."+info.Location+".inference.ml.azure.com/score", strings.NewReader("{}"))
	if err == nil {
		req.Header.Set("Authorization", "Bearer wrong")
	}
	return req, err
}

// copyEndpoint makes copies of an endpoint's record, named by their number.
func copyEndpoint(t *testing.T, dir, name string, count int) {
	t.Helper()
	st, err := sqlite.Open(filepath.Join(dir, "lapis.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	endpoints := store.Table[map[string]any]{Name: "resource/microsoft.machinelearningservices/workspaces/onlineendpoints"}
	err = st.Update(t.Context(), func(tx store.Tx) error {
		made, err := endpoints.List(tx, "", "", 0)
		if err != nil {
			return err
		}
		for n := 1; n < count; n++ {
			if _, err := copyRecord(tx, endpoints, made[0], name, fmt.Sprintf("there-%04d", n)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// copyRecord puts a record once more, with another name wherever it has name.
func copyRecord(tx store.Tx, table store.Table[map[string]any], made store.Entry[map[string]any], name, other string) (map[string]any, error) {
	text, err := json.Marshal(made.Value)
	if err != nil {
		return nil, err
	}
	var copied map[string]any
	if err := json.Unmarshal([]byte(strings.ReplaceAll(string(text), name, other)), &copied); err != nil {
		return nil, err
	}
	_, err = table.Put(tx, strings.ReplaceAll(made.Key, name, other), copied, store.Absent)
	return copied, err
}
