package lapis_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// eventsScript answers with server-sent events. It waits for the valve before
// each but the first, so what has come by then was not kept back anywhere.
const eventsScript = `
import os

class Events:
    status_code, headers, is_streamed = 200, {"Content-Type": "text/event-stream"}, True
    def __init__(self, parts): self.parts = parts
    def get_data(self): return b"".join(self.parts)
    def iter_encoded(self): return self.parts
    def close(self): self.parts.close()

def events(count):
    for n in range(count):
        if n: os.read(os.open(os.environ["VALVE"], os.O_RDONLY), 1)
        yield b"data: %d\n\n" % n

def init(): pass
def run(raw): return Events(events(int(raw)))
`

func TestStreamPassesTheGatewayPieceByPiece(t *testing.T) {
	p := start(t, t.TempDir())
	path := filepath.Join(t.TempDir(), "valve")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	valve, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer valve.Close()
	p.createEndpoint("streams", nil)
	code := p.upload("codes", "streams", "onlinescoring", map[string]string{"score.py": eventsScript})
	if op := p.deploy("streams", "blue", p.deploymentBody(code, p.environment(), map[string]string{"VALVE": path})); op.str("status") != "Succeeded" {
		t.Fatal(op.text)
	}
	p.settle(p.traffic("streams", object{"blue": 100}))

	req, err := http.NewRequest("POST", "https://streams."+p.info.Location+".inference.ml.azure.com/score", strings.NewReader("4"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+p.key("streams"))
	resp, err := p.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" || resp.Header.Get("azureml-model-deployment") != "blue" {
		t.Errorf("got %d %v", resp.StatusCode, resp.Header)
	}
	lines := bufio.NewReader(resp.Body)
	for n := range 4 {
		if n > 0 {
			_, _ = valve.Write([]byte{'!'})
		}
		line, err := lines.ReadString('\n')
		if err != nil || line != fmt.Sprintf("data: %d\n", n) {
			t.Fatalf("got %q, %v", line, err)
		}
		_, _ = lines.ReadString('\n')
	}
	if rest, err := io.ReadAll(lines); len(rest) > 0 || err != nil {
		t.Errorf("after the last came %q, %v", rest, err)
	}
}
