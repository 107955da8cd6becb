package lapis_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"lapis"
	"lapis/client"
)

// platform is a running server as its clients see it: through the gateway, by
// Azure's names.
type platform struct {
	t      *testing.T
	server *lapis.Server
	info   client.Info
	http   *http.Client
	stop   func()
	logs   *lockedBuffer
	mu     sync.Mutex
	tokens map[string]string
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// start runs a platform on a data folder until the test ends, or stop is called.
func start(t *testing.T, dir string, change ...func(*lapis.Config)) *platform {
	t.Helper()
	p := &platform{t: t, logs: &lockedBuffer{}, tokens: map[string]string{}}
	cfg := lapis.Config{DataDir: dir, Log: slog.New(slog.NewTextHandler(p.logs, nil))}
	for _, f := range change {
		f(&cfg)
	}
	server, err := lapis.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	p.server = server
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan client.Info, 1), make(chan error, 1)
	go func() { done <- server.Run(ctx, func(i client.Info) { ready <- i }) }()
	select {
	case p.info = <-ready:
	case err := <-done:
		cancel()
		t.Fatal(err)
	}
	p.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stopping: %v", err)
		}
	})
	t.Cleanup(p.stop)
	p.http = httpClient(t, p.info)
	return p
}

func httpClient(t *testing.T, info client.Info) *http.Client {
	t.Helper()
	bundle, err := os.ReadFile(info.CABundle)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	proxy, err := url.Parse(info.Proxy)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

// answer is a response with its body.
type answer struct {
	status int
	header http.Header
	text   string
	json   map[string]any
}

// path reads a value by a dotted path, such as error.code.
func (a answer) path(path string) any {
	var v any = a.json
	for name := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

func (a answer) str(path string) string {
	s, _ := a.path(path).(string)
	return s
}

func (p *platform) do(method, address string, header map[string]string, body []byte) answer {
	p.t.Helper()
	a, err := p.try(method, address, header, body)
	if err != nil {
		p.t.Fatal(err)
	}
	return a
}

// try is do for requests that may not be answered.
func (p *platform) try(method, address string, header map[string]string, body []byte) (answer, error) {
	return send(p.http, method, address, header, body)
}

// send makes a request. With an error the answer has a status where one came.
func send(c *http.Client, method, address string, header map[string]string, body []byte) (answer, error) {
	req, err := http.NewRequest(method, address, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := c.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	a := answer{status: resp.StatusCode, header: resp.Header, text: string(data)}
	_ = json.Unmarshal(data, &a.json)
	return a, err
}

// token logs an application in for an audience.
func (p *platform) token(clientID, secret, audience string) string {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.tokens[clientID+audience]; t != "" {
		return t
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {clientID}, "client_secret": {secret}, "scope": {audience + "/.default"}}
	a := p.do("POST", "https://login.microsoftonline.com/"+p.info.TenantID+"/oauth2/v2.0/token",
		map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, []byte(form.Encode()))
	token := a.str("access_token")
	if token == "" {
		p.t.Fatalf("no token: %d %s", a.status, a.text)
	}
	p.tokens[clientID+audience] = token
	return token
}

func (p *platform) owner(audience string) string {
	return p.token(p.info.ClientID, p.info.ClientSecret, audience)
}

const armHost = "https://management.azure.com"

// arm sends a request to Resource Manager as the owner. path may be relative to
// the default resource group.
func (p *platform) arm(method, path, version string, body any) answer {
	p.t.Helper()
	return p.armAs(p.owner(armHost), method, path, version, body)
}

func (p *platform) armAs(token, method, path, version string, body any) answer {
	p.t.Helper()
	if !strings.HasPrefix(path, "/") {
		path = p.group() + "/" + path
	}
	var data []byte
	if body != nil {
		data, _ = json.Marshal(body)
	}
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	return p.do(method, armHost+path+sep+"api-version="+version,
		map[string]string{"Authorization": "Bearer " + token, "Content-Type": "application/json"}, data)
}

func (p *platform) group() string {
	return "/subscriptions/" + p.info.SubscriptionID + "/resourceGroups/" + p.info.ResourceGroup
}

func (p *platform) workspace() string {
	return p.group() + "/providers/Microsoft.MachineLearningServices/workspaces/" + p.info.Workspace
}

// must fails the test unless the status is one of those given.
func (p *platform) must(a answer, want ...int) answer {
	p.t.Helper()
	for _, s := range want {
		if a.status == s {
			return a
		}
	}
	p.t.Fatalf("status %d, want %v: %s", a.status, want, a.text)
	return a
}

// wait follows an operation to its end and returns its last state.
func (p *platform) wait(a answer) answer {
	p.t.Helper()
	address := a.header.Get("Azure-AsyncOperation")
	if address == "" {
		p.t.Fatalf("no operation in %d %s", a.status, a.text)
	}
	deadline := time.Now().Add(2 * time.Minute)
	for time.Now().Before(deadline) {
		op := p.do("GET", address, map[string]string{"Authorization": "Bearer " + p.owner(armHost)}, nil)
		switch op.str("status") {
		case "Succeeded", "Failed", "Canceled":
			return op
		}
		time.Sleep(20 * time.Millisecond) // the pace of a client that polls
	}
	p.t.Fatal("the operation does not end")
	return answer{}
}

const mlVersion = "2023-04-01-preview"

type object = map[string]any

// upload registers a code or model asset of files, as the SDK does.
func (p *platform) upload(collection, name, folder string, files map[string]string) string {
	p.t.Helper()
	version := p.workspace() + "/" + collection + "/" + name + "/versions/1"
	pending := p.must(p.arm("POST", version+"/startPendingUpload", mlVersion, object{"pendingUploadType": "TemporaryBlobReference"}), 200)
	reference, _ := pending.json["blobReferenceForConsumption"].(map[string]any)
	credential, _ := reference["credential"].(map[string]any)
	sas, err := url.Parse(credential["sasUri"].(string))
	if err != nil {
		p.t.Fatal(err)
	}
	for file, text := range files {
		at := *sas
		at.Path += "/" + folder + "/" + file
		p.must(p.do("PUT", at.String(), map[string]string{"x-ms-blob-type": "BlockBlob", "x-ms-version": "2021-12-02"}, []byte(text)), 201)
	}
	uri := fmt.Sprint(reference["blobUri"]) + "/" + folder
	property := map[string]string{"codes": "codeUri", "models": "modelUri"}[collection]
	p.must(p.arm("PUT", version, mlVersion, object{"properties": object{property: uri, "isAnonymous": true}}), 200, 201)
	return version
}

// environment registers an environment with nothing but Python in it.
func (p *platform) environment() string {
	p.t.Helper()
	id := p.workspace() + "/environments/bare/versions/1"
	p.must(p.arm("PUT", id, mlVersion, object{"properties": object{
		"image": "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest", "condaFile": "name: bare\ndependencies: [python]\n",
	}}), 200, 201)
	return id
}

func (p *platform) createEndpoint(name string, identity any) answer {
	p.t.Helper()
	body := object{"location": p.info.Location, "properties": object{"authMode": "Key", "traffic": object{}, "properties": object{}}}
	if identity != nil {
		body["identity"] = identity
	}
	a := p.must(p.arm("PUT", p.workspace()+"/onlineEndpoints/"+name, mlVersion, body), 201, 200)
	if op := p.wait(a); op.str("status") != "Succeeded" {
		p.t.Fatalf("endpoint: %s", op.text)
	}
	return p.must(p.arm("GET", p.workspace()+"/onlineEndpoints/"+name, mlVersion, nil), 200)
}

func (p *platform) deploymentBody(code, environment string, variables map[string]string) object {
	return object{"location": p.info.Location, "sku": object{"name": "Default", "capacity": 1}, "properties": object{
		"endpointComputeType": "Managed", "codeConfiguration": object{"codeId": code, "scoringScript": "score.py"},
		"environmentId": environment, "environmentVariables": variables, "instanceType": "Standard_DS3_v2",
	}}
}

// deploy creates a deployment and returns the end of its operation.
func (p *platform) deploy(endpoint, name string, body object) answer {
	p.t.Helper()
	return p.wait(p.must(p.arm("PUT", p.workspace()+"/onlineEndpoints/"+endpoint+"/deployments/"+name, mlVersion, body), 200, 201))
}

func (p *platform) traffic(endpoint string, traffic object) answer {
	p.t.Helper()
	return p.arm("PUT", p.workspace()+"/onlineEndpoints/"+endpoint, mlVersion, object{
		"location": p.info.Location, "properties": object{"authMode": "Key", "traffic": traffic},
	})
}

func (p *platform) key(endpoint string) string {
	p.t.Helper()
	return p.must(p.arm("POST", p.workspace()+"/onlineEndpoints/"+endpoint+"/listKeys", mlVersion, nil), 200).str("primaryKey")
}

func (p *platform) score(endpoint, key, body string) answer {
	p.t.Helper()
	return p.do("POST", "https://"+endpoint+"."+p.info.Location+".inference.ml.azure.com/score",
		map[string]string{"Authorization": "Bearer " + key, "Content-Type": "application/json"}, []byte(body))
}

func (p *platform) getLogs(endpoint, name string) string {
	p.t.Helper()
	a := p.must(p.arm("POST", p.workspace()+"/onlineEndpoints/"+endpoint+"/deployments/"+name+"/getLogs", mlVersion, object{"tail": 1000}), 200)
	return a.str("content")
}

// storage makes an account with a container that holds hello.txt, and returns
// the account's id.
func (p *platform) storage(name string) string {
	p.t.Helper()
	id := p.group() + "/providers/Microsoft.Storage/storageAccounts/" + name
	p.must(p.arm("PUT", id, "2023-01-01", object{"location": p.info.Location, "kind": "StorageV2", "sku": object{"name": "Standard_LRS"}}), 200, 201)
	p.must(p.arm("PUT", id+"/blobServices/default/containers/box", "2023-01-01", object{}), 200, 201)
	p.grant(p.ownerID(), "Storage Blob Data Contributor", id)
	p.must(p.do("PUT", "https://"+name+".blob.core.windows.net/box/hello.txt", map[string]string{
		"Authorization": "Bearer " + p.owner("https://storage.azure.com"), "x-ms-version": "2021-12-02", "x-ms-blob-type": "BlockBlob",
	}, []byte("Hello world!")), 201)
	return id
}

func (p *platform) ownerID() string {
	p.t.Helper()
	a := p.must(p.arm("GET", "/subscriptions/"+p.info.SubscriptionID+"/providers/Microsoft.Authorization/roleAssignments", "2022-04-01", nil), 200)
	for _, v := range a.json["value"].([]any) {
		properties := v.(map[string]any)["properties"].(map[string]any)
		if strings.HasSuffix(fmt.Sprint(properties["roleDefinitionId"]), "8e3af657-a8ff-443c-a75c-2fe8c4bcb635") {
			return fmt.Sprint(properties["principalId"])
		}
	}
	p.t.Fatal("no owner")
	return ""
}

// grant assigns a role by name and returns the assignment's id.
func (p *platform) grant(principal, role, scope string) string {
	p.t.Helper()
	defs := p.must(p.arm("GET", scope+"/providers/Microsoft.Authorization/roleDefinitions?$filter="+url.QueryEscape("roleName eq '"+role+"'"), "2022-05-01-preview", nil), 200)
	values, _ := defs.json["value"].([]any)
	if len(values) != 1 {
		p.t.Fatalf("role %q: %s", role, defs.text)
	}
	definition := values[0].(map[string]any)["id"]
	p.mu.Lock()
	n := len(p.tokens)
	p.mu.Unlock()
	name := fmt.Sprintf("%08x-0000-4000-8000-%012x", time.Now().UnixNano()&0xffffffff, n)
	a := p.must(p.arm("PUT", scope+"/providers/Microsoft.Authorization/roleAssignments/"+name, "2022-04-01", object{"properties": object{
		"roleDefinitionId": definition, "principalId": principal, "principalType": "ServicePrincipal",
	}}), 201, 200)
	return a.str("id")
}
