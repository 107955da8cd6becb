package lapis_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// ledger drives a platform that may die at any time, and keeps what it was
// told: what was acknowledged as made, and as deleted. What has no answer yet
// is neither.
type ledger struct {
	t *testing.T
	w *wire

	mu      sync.Mutex
	parked  *sync.Cond
	paused  bool
	stopped bool
	active  int
	step    string
	there   map[string]thing
	gone    map[string]thing
	ops     map[string]string  // acknowledged operations by address: the last status seen
	serving map[string]serving // endpoints that answered, by name
	counter [2]int             // the tag that counts: acknowledged, and asked for
	done    sync.WaitGroup
	laps    int
}

// thing is how to look for something, and its bytes where it is a blob.
type thing struct {
	version string // api-version; "" for a blob
	content []byte
}

type serving struct{ key string }

func newLedger(t *testing.T, w *wire) *ledger {
	l := &ledger{t: t, w: w, there: map[string]thing{}, gone: map[string]thing{}, ops: map[string]string{}, serving: map[string]serving{}}
	l.parked = sync.NewCond(&l.mu)
	return l
}

var errStopped = errors.New("the test ends")

// attempt sends one request, unless the ledger is paused, and notes its
// outcome before the ledger can be paused again.
func (l *ledger) attempt(step string, send func() (answer, error), note func(answer)) (answer, error) {
	l.mu.Lock()
	for l.paused {
		l.parked.Wait()
	}
	if l.stopped {
		l.mu.Unlock()
		return answer{}, errStopped
	}
	l.active++
	if step != "" && !strings.Contains(step, "crashdata") { // where the tour stands, not the writers
		l.step = step
	}
	l.mu.Unlock()
	a, err := send()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		note(a)
	}
	l.active--
	l.parked.Broadcast()
	return a, err
}

// until repeats a request until it is acknowledged with one of the statuses.
func (l *ledger) until(step string, send func() (answer, error), note func(answer), want ...int) answer {
	conflicts := 0
	for {
		a, err := l.attempt(step, send, func(a answer) {
			if slices.Contains(want, a.status) && note != nil {
				note(a)
			}
		})
		switch {
		case errors.Is(err, errStopped):
			panic(errStopped)
		case err != nil: // killed: ask again
			time.Sleep(10 * time.Millisecond)
		case slices.Contains(want, a.status):
			return a
		case a.status == 409 && conflicts < 1000: // an attempt without an answer was taken, and goes on
			conflicts++
			time.Sleep(50 * time.Millisecond)
		default:
			l.t.Errorf("%s: %d %s", step, a.status, a.text)
			panic(errStopped)
		}
	}
}

// put makes a resource and follows its operation.
func (l *ledger) put(path, version string, body any) answer {
	for {
		a := l.until("PUT "+path, func() (answer, error) { return l.w.arm("PUT", path, version, body) }, func(a answer) {
			l.there[path] = thing{version: version}
			delete(l.gone, path)
			l.begun(a)
		}, 200, 201)
		op := a.header.Get("Azure-AsyncOperation")
		if op == "" || l.follow("PUT "+path, op) {
			return a
		}
		if l.t.Failed() {
			panic(errStopped)
		}
	}
}

func (l *ledger) delete(path, version string) {
	forget := func() {
		delete(l.there, path)
		l.gone[path] = thing{version: version}
	}
	for {
		l.mu.Lock()
		what := l.there[path]
		l.mu.Unlock()
		a := l.until("DELETE "+path, func() (answer, error) {
			l.mu.Lock()
			delete(l.there, path) // from here on it may be gone
			l.mu.Unlock()
			return l.w.arm("DELETE", path, version, nil)
		}, func(a answer) {
			if a.status == 202 {
				l.begun(a)
				return
			}
			forget()
		}, 200, 202, 204, 404)
		op := a.header.Get("Azure-AsyncOperation")
		if op == "" {
			return
		}
		if l.follow("DELETE "+path, op) {
			l.mu.Lock()
			forget()
			l.mu.Unlock()
			return
		}
		l.mu.Lock()
		l.there[path] = what
		l.mu.Unlock()
	}
}

// begun notes an operation that was acknowledged. The caller holds the lock.
func (l *ledger) begun(a answer) {
	if op := a.header.Get("Azure-AsyncOperation"); op != "" {
		l.ops[op] = ""
	}
}

// follow polls an operation to its end and reports whether it succeeded. One
// that fails must say why.
func (l *ledger) follow(step, address string) bool {
	for {
		a := l.until(step+" (its operation)", func() (answer, error) {
			token, err := l.w.token(armHost)
			if err != nil {
				return answer{}, err
			}
			return l.w.do("GET", address, bearerHeader(token), nil)
		}, func(a answer) { l.ops[address] = a.str("status") }, 200)
		switch a.str("status") {
		case "Succeeded":
			return true
		case "Failed", "Canceled":
			if a.str("error.message") == "" || a.str("error.code") == "InternalServerError" {
				l.t.Errorf("%s failed without an honest cause: %s", step, a.text)
			}
			l.t.Logf("%s failed and is asked for again: %s", step, a.text)
			return false
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (l *ledger) putBlob(address string, content []byte) {
	l.until("", func() (answer, error) { return l.w.blob("PUT", address, content) }, func(answer) {
		l.there[address] = thing{content: content}
	}, 201)
}

func (l *ledger) deleteBlob(address string) {
	l.until("", func() (answer, error) {
		l.mu.Lock()
		delete(l.there, address)
		l.mu.Unlock()
		return l.w.blob("DELETE", address, nil)
	}, func(answer) { l.gone[address] = thing{} }, 202, 404)
}

// pause lets nothing more be sent and waits for what is under way.
func (l *ledger) pause() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paused = true
	for l.active > 0 {
		l.parked.Wait()
	}
}

func (l *ledger) resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paused = false
	l.parked.Broadcast()
}

func (l *ledger) where() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.ReplaceAll(l.step, l.group(""), "…")
}

// finish waits until a lap has been completed, then ends the writers.
func (l *ledger) finish() {
	deadline := time.Now().Add(90 * time.Second)
	for {
		l.mu.Lock()
		laps := l.laps
		l.mu.Unlock()
		if laps > 0 || l.t.Failed() {
			break
		}
		if time.Now().After(deadline) {
			l.t.Errorf("no lap of the tour was completed; it stands at %s", l.where())
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	l.mu.Lock()
	l.stopped = true
	l.mu.Unlock()
	l.done.Wait()
}

// check compares the platform with the ledger.
func (l *ledger) check() string {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for path, what := range l.there {
		a, err := l.look(path, what)
		if err != nil || a.status != 200 {
			l.t.Errorf("acknowledged and lost: %s: %d %v %s", path, a.status, err, a.text)
		}
		if what.content != nil && a.text != string(what.content) {
			l.t.Errorf("%s: %d bytes came back, other than the %d that were acknowledged", path, len(a.text), len(what.content))
		}
	}
	for path, what := range l.gone {
		if a, err := l.look(path, what); err != nil || a.status != 404 {
			l.t.Errorf("acknowledged as deleted, and back: %s: %d %v %s", path, a.status, err, a.text)
		}
	}
	for address, status := range l.ops {
		token, err := l.w.token(armHost)
		if err != nil {
			l.t.Error(err)
			continue
		}
		a, err := l.w.do("GET", address, bearerHeader(token), nil)
		ended := status != "" && status != "InProgress"
		if err != nil || a.status != 200 || ended && a.str("status") != status {
			l.t.Errorf("the operation %s, %q before, is lost: %d %v %s", address, status, a.status, err, a.text)
		}
	}
	a, err := l.w.arm("GET", l.group(""), groupVersion, nil)
	var count int
	_, _ = fmt.Sscan(a.str("tags.count"), &count)
	if err != nil || count < l.counter[0] || count > l.counter[1] {
		l.t.Errorf("the counter is %d; %d was acknowledged, %d asked for: %v", count, l.counter[0], l.counter[1], err)
	}
	for name, s := range l.serving {
		l.serves(name, s)
	}
	return fmt.Sprintf("%d things there, %d gone, %d operations, %d endpoints serve, count %d", len(l.there), len(l.gone), len(l.ops), len(l.serving), count)
}

func (l *ledger) look(path string, what thing) (answer, error) {
	if what.version == "" {
		return l.w.blob("GET", path, nil)
	}
	return l.w.arm("GET", path, what.version, nil)
}

// serves waits until an endpoint answers again, as it must by itself.
func (l *ledger) serves(name string, s serving) {
	began := time.Now()
	for {
		a, err := l.w.do("POST", "https://"+name+"."+l.w.info.Location+".inference.ml.azure.com/score",
			bearerHeader(s.key, "Content-Type", "application/json"), []byte(`{"data":[1,2,3]}`))
		if err == nil && a.status == 200 && a.str("blob") == "Hello world!" && a.path("sum") == 6.0 {
			return
		}
		if time.Since(began) > 20*time.Second {
			l.t.Errorf("%s does not serve 20 s after the start: %d %v %s", name, a.status, err, a.text)
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (l *ledger) group(name string) string {
	if name == "" {
		name = "crash"
	}
	return "/subscriptions/" + l.w.info.SubscriptionID + "/resourceGroups/" + name
}

func (l *ledger) workspace() string {
	return l.group(l.w.info.ResourceGroup) + "/providers/Microsoft.MachineLearningServices/workspaces/" + l.w.info.Workspace
}

// begin makes what the writers write to, then starts them.
func (l *ledger) begin() {
	l.put(l.group(""), groupVersion, object{"location": l.w.info.Location})
	l.storage(l.group(""), "crashdata", "00000000-0000-4000-8000-000000000001")
	work := func(f func()) {
		l.done.Go(func() {
			defer func() {
				if cause := recover(); cause != nil && cause != error(errStopped) {
					panic(cause)
				}
			}()
			f()
		})
	}
	work(l.writeBlobs)
	work(l.writeRecords)
	work(func() {
		for n := 0; ; n++ {
			l.lap(n)
			l.mu.Lock()
			l.laps++
			l.mu.Unlock()
		}
	})
}

// storage makes an account with a container that the owner may write to.
func (l *ledger) storage(group, name, role string) string {
	id := group + "/providers/Microsoft.Storage/storageAccounts/" + name
	l.put(id, storageVersion, object{"location": l.w.info.Location, "kind": "StorageV2", "sku": object{"name": "Standard_LRS"}})
	l.put(id+"/blobServices/default/containers/box", storageVersion, object{})
	l.assign(id, role, "ba92f5b4-2d11-453d-a403-e96b0029c9fe", l.principal())
	return id
}

// principal is the owner's object id, from its own token.
func (l *ledger) principal() string {
	for {
		if token, err := l.w.token(armHost); err == nil {
			return fmt.Sprint(decodePart(token, 1)["oid"])
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (l *ledger) assign(scope, name, role, principal string) string {
	id := scope + "/providers/Microsoft.Authorization/roleAssignments/" + name
	l.put(id, "2022-04-01", object{"properties": object{
		"roleDefinitionId": "/subscriptions/" + l.w.info.SubscriptionID + "/providers/Microsoft.Authorization/roleDefinitions/" + role,
		"principalId":      principal, "principalType": "ServicePrincipal",
	}})
	return id
}

// writeBlobs writes blobs for ever, and deletes some.
func (l *ledger) writeBlobs() {
	for i := 0; ; i++ {
		address := fmt.Sprintf("https://crashdata.blob.core.windows.net/box/blob-%04d", i)
		l.putBlob(address, bytes.Repeat(fmt.Appendf(nil, "blob %d. ", i), 1+i*37%5000))
		if i%4 == 3 {
			l.deleteBlob(fmt.Sprintf("https://crashdata.blob.core.windows.net/box/blob-%04d", i-2))
		}
		time.Sleep(15 * time.Millisecond)
	}
}

// writeRecords counts in a tag, and assigns and removes roles, for ever.
func (l *ledger) writeRecords() {
	for i := 1; ; i++ {
		l.until("", func() (answer, error) {
			l.mu.Lock()
			l.counter[1] = i
			l.mu.Unlock()
			return l.w.arm("PATCH", l.group(""), groupVersion, object{"tags": object{"count": fmt.Sprint(i)}})
		}, func(answer) { l.counter[0] = i }, 200)
		if i%5 == 0 {
			scope := l.group("") + "/providers/Microsoft.Storage/storageAccounts/crashdata/blobServices/default/containers/c" + fmt.Sprint(i)
			id := l.assign(scope, fmt.Sprintf("00000000-0000-4000-8000-1%011d", i), "acdd72a7-3385-48ef-bd42-f606fba81ae7", l.principal())
			if i%10 == 0 {
				l.delete(id, "2022-04-01")
			}
		}
		time.Sleep(15 * time.Millisecond)
	}
}

// lap is the whole tour under names of its own. The endpoint of the first lap
// goes on serving; the others are taken down again.
func (l *ledger) lap(n int) {
	group, location := l.group(fmt.Sprintf("lap%d", n)), l.w.info.Location
	l.put(group, groupVersion, object{"location": location})
	l.put(group+"/"+identityPath("someone"), identityVersion, object{"location": location})
	account := fmt.Sprintf("lapdata%d", n)
	accountID := l.storage(group, account, fmt.Sprintf("00000000-0000-4000-8000-2%011d", n))
	hello := "https://" + account + ".blob.core.windows.net/box/hello.txt"
	l.putBlob(hello, []byte("Hello world!"))
	name := fmt.Sprintf("lap-%d", n)
	endpoint := l.workspace() + "/onlineEndpoints/" + name
	l.put(endpoint, mlVersion, object{"location": location, "properties": object{"authMode": "Key"}})
	shown := l.until("GET "+endpoint, func() (answer, error) { return l.w.arm("GET", endpoint, mlVersion, nil) }, nil, 200)
	l.assign(accountID, fmt.Sprintf("00000000-0000-4000-8000-3%011d", n), "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1", shown.str("identity.principalId"))
	code, environment := l.assets(n)
	deployment := endpoint + "/deployments/blue"
	p := &platform{t: l.t, info: l.w.info}
	l.put(deployment, mlVersion, p.deploymentBody(code, environment, map[string]string{"ACCOUNT": account}))
	traffic := func(share object) {
		l.put(endpoint, mlVersion, object{"location": location, "properties": object{"authMode": "Key", "traffic": share}})
	}
	traffic(object{"blue": 100})
	key := l.until("keys of "+name, func() (answer, error) { return l.w.arm("POST", endpoint+"/listKeys", mlVersion, nil) }, nil, 200).str("primaryKey")
	l.until("invoke "+name, func() (answer, error) {
		a, err := l.w.do("POST", "https://"+name+"."+location+".inference.ml.azure.com/score", bearerHeader(key), []byte(`{"data":[4]}`))
		if a.status == 404 || a.status == 424 || a.status == 503 { // killed since: it starts again
			err = errLost
		}
		return a, err
	}, func(answer) { l.serving[name] = serving{key} }, 200)
	if n == 0 {
		return
	}
	l.mu.Lock()
	delete(l.serving, name)
	l.mu.Unlock()
	traffic(object{})
	l.delete(deployment, mlVersion)
	l.delete(endpoint, mlVersion)
	within := map[string]thing{} // all of it goes with the group
	l.mu.Lock()
	for path, what := range l.there {
		if strings.HasPrefix(path, group+"/") || path == hello {
			delete(l.there, path)
			within[path] = what
		}
	}
	l.mu.Unlock()
	l.delete(group, groupVersion)
	l.mu.Lock()
	defer l.mu.Unlock()
	for path, what := range within {
		if !strings.Contains(path, "/roleAssignments/") {
			l.gone[path] = what
		}
	}
}

// assets registers the scoring script and an environment, as the SDK does.
func (l *ledger) assets(n int) (code, environment string) {
	code = l.workspace() + fmt.Sprintf("/codes/lap%d/versions/1", n)
	pending := l.until("upload", func() (answer, error) {
		return l.w.arm("POST", code+"/startPendingUpload", mlVersion, object{"pendingUploadType": "TemporaryBlobReference"})
	}, nil, 200)
	sas, err := url.Parse(pending.str("blobReferenceForConsumption.credential.sasUri"))
	if err != nil {
		l.t.Error(err)
		panic(errStopped)
	}
	sas.Path += "/src/score.py"
	l.until("upload", func() (answer, error) {
		return l.w.do(http.MethodPut, sas.String(), map[string]string{"x-ms-blob-type": "BlockBlob", "x-ms-version": "2021-12-02"}, []byte(blobScript))
	}, nil, 201)
	l.put(code, mlVersion, object{"properties": object{"codeUri": pending.str("blobReferenceForConsumption.blobUri") + "/src", "isAnonymous": true}})
	environment = l.workspace() + "/environments/bare/versions/1"
	l.put(environment, mlVersion, object{"properties": object{
		"image": "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest", "condaFile": "name: bare\ndependencies: [python]\n",
	}})
	return code, environment
}
