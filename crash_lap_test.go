package lapis_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

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
	}, func(answer) { l.serving[name] = key }, 200)
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
