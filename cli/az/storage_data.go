package az

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"os"
	"path/filepath"
	"strings"

	"lapis/cli/blobs"
	"lapis/cli/cloud"
	"lapis/cli/setting"
)

// signingArgs say which account is meant and how requests to it are signed.
func signingArgs() []arg {
	return []arg{
		{names: "--account-name", help: "Storage account name. Variable: AZURE_STORAGE_ACCOUNT."},
		{names: "--account-key", help: "Storage account key. Variable: AZURE_STORAGE_KEY."},
		{names: "--sas-token", help: "A shared access signature. Variable: AZURE_STORAGE_SAS_TOKEN."},
		{names: "--connection-string", help: "Storage account connection string. Variable: AZURE_STORAGE_CONNECTION_STRING."},
		{names: "--blob-endpoint", help: "Storage data service endpoint."},
		{names: "--auth-mode", help: "How to sign: with the account's key, or as who is signed in. Variable: AZURE_STORAGE_AUTH_MODE.", choices: []string{"key", "login"}},
	}
}

func containerBranch() branch {
	name := nameArg("The container name.")
	return branch{name: "container", help: "Manage blob storage containers.", commands: []command{
		{name: "create", help: "Create a container.", run: containerCreate, example: "az storage container create --account-name ACCOUNT --name NAME",
			args: join([]arg{name, {names: "--metadata", help: "Metadata as key=value.", kind: many}, {names: "--fail-on-exist", help: "Fail if the container is there.", kind: flag},
				{names: "--public-access", hidden: true}, {names: "--resource-group -g", hidden: true}}, signingArgs())},
		{name: "list", help: "List containers.", run: containerList, args: join([]arg{{names: "--prefix", help: "Only those whose names begin so."}}, signingArgs())},
		{name: "show", help: "Get a container's properties.", run: containerShow, args: join([]arg{name}, signingArgs())},
		{name: "exists", help: "Check if a container exists.", run: containerExists, args: join([]arg{name}, signingArgs())},
		{name: "delete", help: "Delete a container and its blobs.", run: containerDelete, args: join([]arg{name, {names: "--yes -y", kind: flag, hidden: true}}, signingArgs())},
	}}
}

func blobBranch() branch {
	container := arg{names: "--container-name -c", help: "The container name.", required: true}
	name := nameArg("The blob name.")
	return branch{name: "blob", help: "Manage blobs.", commands: []command{
		{name: "upload", help: "Upload a file to a blob.", run: blobUpload,
			example: "az storage blob upload --account-name ACCOUNT --container-name CONTAINER --name NAME --file PATH",
			args: join([]arg{container, {names: "--name -n", help: "The blob name; by default the file's."}, {names: "--file -f", help: "Path of the file."},
				{names: "--data", help: "The content itself, in place of a file."},
				{names: "--overwrite", help: "Overwrite a blob that is there.", kind: truth},
				{names: "--content-type", help: "Content type; by default guessed from the name."},
				{names: "--metadata", help: "Metadata as key=value.", kind: many},
				{names: "--type -t", hidden: true}, {names: "--no-progress", kind: flag, hidden: true}, {names: "--max-connections", hidden: true}}, signingArgs())},
		{name: "download", help: "Download a blob to a file, or to stdout.", run: blobDownload,
			args: join([]arg{container, name, {names: "--file -f", help: "Path of the file to write."}, {names: "--overwrite", help: "Overwrite a file that is there.", kind: truth},
				{names: "--no-progress", kind: flag, hidden: true}, {names: "--max-connections", hidden: true}}, signingArgs())},
		{name: "list", help: "List blobs of a container.", run: blobList, args: join([]arg{container, {names: "--prefix", help: "Only those whose names begin so."}, {names: "--num-results", hidden: true}}, signingArgs())},
		{name: "show", help: "Get a blob's properties.", run: blobShow, args: join([]arg{container, name}, signingArgs())},
		{name: "exists", help: "Check if a blob exists.", run: blobExists, args: join([]arg{container, name}, signingArgs())},
		{name: "delete", help: "Delete a blob.", run: blobDelete, args: join([]arg{container, name}, signingArgs())},
	}}
}

// orEnv returns an argument, else its variable.
func (c *Call) orEnv(key, variable string) string {
	if value := c.str(key); value != "" {
		return value
	}
	return c.Getenv(variable)
}

// blobClient finds the account and how to sign. Without credentials it does as
// az does: finds the account among the subscription's and asks for its keys.
func (c *Call) blobClient(ctx context.Context) (*blobs.Client, error) {
	s, err := c.Session()
	if err != nil {
		return nil, err
	}
	client := &blobs.Client{Session: s, Account: c.orEnv("account-name", "AZURE_STORAGE_ACCOUNT")}
	mode := c.orEnv("auth-mode", "AZURE_STORAGE_AUTH_MODE")
	if connection := c.orEnv("connection-string", "AZURE_STORAGE_CONNECTION_STRING"); connection != "" && mode != "login" {
		conn, err := blobs.ParseConnection(connection)
		if err != nil {
			return nil, usage("argument --connection-string: %v", err)
		}
		client.Account, client.Key, client.SAS, client.Endpoint = conn.Account, conn.Key, conn.SAS, conn.Endpoint
		return client, nil
	}
	client.Endpoint = strings.TrimSuffix(c.str("blob-endpoint"), "/")
	if client.Account == "" {
		if client.Endpoint == "" {
			e := usage("the following arguments are required: --account-name")
			e.hint = "or give --connection-string, or set AZURE_STORAGE_ACCOUNT"
			return nil, e
		}
		_, host, _ := strings.Cut(client.Endpoint, "://")
		client.Account, _, _ = strings.Cut(host, ".")
	}
	if client.Endpoint == "" {
		client.Endpoint = s.Blob(client.Account)
	}
	if mode == "login" {
		client.Bearer = true
		return client, nil
	}
	client.Key = c.orEnv("account-key", "AZURE_STORAGE_KEY")
	client.SAS = strings.TrimPrefix(c.orEnv("sas-token", "AZURE_STORAGE_SAS_TOKEN"), "?")
	if client.Key == "" && client.SAS == "" {
		client.Key, err = c.accountKey(ctx, s, client.Account)
	}
	return client, err
}

func (c *Call) accountKey(ctx context.Context, s *cloud.Session, name string) (string, error) {
	account, err := c.findAccount(ctx, name, "")
	if err != nil {
		return "", err
	}
	keys, err := listKeys(ctx, s, text(account, "id"))
	if err != nil {
		return "", hinted(err, "to sign as who is signed in, without a key, add --auth-mode login")
	}
	if len(keys) > 0 {
		if key, ok := keys[0].(object); ok && text(key, "value") != "" {
			return text(key, "value"), nil
		}
	}
	return "", fmt.Errorf("the storage account %s gave no keys", name)
}

func (c *Call) metadata() (map[string]string, error) {
	pairs, err := setting.Pairs(c.list("metadata"))
	if err != nil {
		return nil, usage("argument --metadata: %v", err)
	}
	out := map[string]string{}
	for name, value := range pairs {
		out[name] = fmt.Sprint(value)
	}
	return out, nil
}

func containerCreate(ctx context.Context, c *Call) (any, error) {
	client, err := c.blobClient(ctx)
	if err != nil {
		return nil, err
	}
	metadata, err := c.metadata()
	if err != nil {
		return nil, err
	}
	created, err := client.CreateContainer(ctx, c.str("name"), metadata)
	if err == nil && !created && c.on("fail-on-exist") {
		err = &cloud.Failure{Status: 409, Code: "ContainerAlreadyExists", Message: "the container " + c.str("name") + " is there already"}
	}
	if err != nil {
		return nil, err
	}
	return object{"created": created}, nil
}

func containerList(ctx context.Context, c *Call) (any, error) {
	client, err := c.blobClient(ctx)
	if err != nil {
		return nil, err
	}
	items, err := client.Containers(ctx, c.str("prefix"))
	if err != nil {
		return nil, err
	}
	list := []any{}
	for _, item := range items {
		list = append(list, showContainer(item.Name, item.Properties))
	}
	return list, nil
}

func showContainer(name string, p blobs.Properties) object {
	return object{"name": name, "metadata": p.Metadata, "properties": object{"etag": p.ETag, "lastModified": p.LastModified}}
}

func containerShow(ctx context.Context, c *Call) (any, error) {
	client, err := c.blobClient(ctx)
	if err != nil {
		return nil, err
	}
	props, err := client.Container(ctx, c.str("name"))
	if err != nil {
		return nil, err
	}
	return showContainer(c.str("name"), props), nil
}

func containerExists(ctx context.Context, c *Call) (any, error) {
	client, err := c.blobClient(ctx)
	if err != nil {
		return nil, err
	}
	_, err = client.Container(ctx, c.str("name"))
	return exists(err)
}

func exists(err error) (any, error) {
	if cloud.IsNotFound(err) {
		return object{"exists": false}, nil
	}
	if err != nil {
		return nil, err
	}
	return object{"exists": true}, nil
}

func containerDelete(ctx context.Context, c *Call) (any, error) {
	client, err := c.blobClient(ctx)
	if err != nil {
		return nil, err
	}
	err = client.DeleteContainer(ctx, c.str("name"))
	if cloud.IsNotFound(err) {
		return object{"deleted": false}, nil
	}
	if err != nil {
		return nil, err
	}
	return object{"deleted": true}, nil
}

func blobUpload(ctx context.Context, c *Call) (any, error) {
	if c.given("file") == c.given("data") {
		return nil, usage("give either --file/-f or --data")
	}
	name := c.str("name")
	if name == "" && c.given("file") {
		name = filepath.Base(c.str("file"))
	}
	if name == "" {
		return nil, usage("the following arguments are required: --name/-n")
	}
	metadata, err := c.metadata()
	if err != nil {
		return nil, err
	}
	client, err := c.blobClient(ctx)
	if err != nil {
		return nil, err
	}
	o := blobs.UploadOptions{ContentType: c.str("content-type"), Overwrite: c.on("overwrite"), Metadata: metadata}
	if o.ContentType == "" {
		o.ContentType = contentType(name)
	}
	p := c.progress("uploading " + name)
	o.Progress = func(done, total int64) {
		if done < total {
			p.say(fmt.Sprintf("%d of %d MiB", done>>20, total>>20))
		}
	}
	var props blobs.Properties
	if c.given("file") {
		props, err = client.UploadFile(ctx, c.str("container-name"), name, c.str("file"), o)
	} else {
		props, err = client.Upload(ctx, c.str("container-name"), name, []byte(c.str("data")), o)
	}
	p.end()
	var f *cloud.Failure
	if errors.As(err, &f) && f.Code == "BlobAlreadyExists" {
		return nil, hinted(err, "to write over it, add --overwrite")
	}
	if err != nil {
		return nil, err
	}
	return object{"etag": props.ETag, "lastModified": props.LastModified, "content_md5": orNull(props.ContentMD5), "request_id": props.RequestID,
		"request_server_encrypted": true, "encryption_scope": nil, "encryption_key_sha256": nil, "version_id": nil}, nil
}

func contentType(name string) string {
	switch filepath.Ext(name) { // not left to the machine's own tables
	case ".txt":
		return "text/plain"
	case ".json":
		return "application/json"
	case ".yml", ".yaml":
		return "application/yaml"
	}
	kind, _, _ := strings.Cut(mime.TypeByExtension(filepath.Ext(name)), ";")
	return kind
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func showBlob(container, name string, p blobs.Properties) object {
	return object{"name": name, "container": container, "metadata": p.Metadata, "deleted": nil, "snapshot": nil, "properties": object{
		"blobType": p.BlobType, "contentLength": p.Length, "creationTime": orNull(p.Created), "etag": p.ETag, "lastModified": p.LastModified,
		"contentSettings": object{"contentType": orNull(p.ContentType), "contentMd5": orNull(p.ContentMD5)}}}
}

func blobDownload(ctx context.Context, c *Call) (any, error) {
	client, err := c.blobClient(ctx)
	if err != nil {
		return nil, err
	}
	container, name := c.str("container-name"), c.str("name")
	if !c.given("file") {
		_, err := client.Download(ctx, container, name, c.Stdout)
		return nil, err
	}
	target := c.str("file")
	if _, err := os.Stat(target); err == nil && c.given("overwrite") && !c.on("overwrite") {
		return nil, hinted(fmt.Errorf("%s is there already", target), "to write over it, add --overwrite")
	}
	tmp, err := os.CreateTemp(filepath.Dir(target), ".download-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(tmp.Name())
	props, err := client.Download(ctx, container, name, tmp)
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Chmod(tmp.Name(), 0o644)
	}
	if err == nil {
		err = os.Rename(tmp.Name(), target)
	}
	if err != nil {
		return nil, err
	}
	return showBlob(container, name, props), nil
}

func blobList(ctx context.Context, c *Call) (any, error) {
	client, err := c.blobClient(ctx)
	if err != nil {
		return nil, err
	}
	items, err := client.Blobs(ctx, c.str("container-name"), c.str("prefix"))
	if err != nil {
		return nil, err
	}
	list := []any{}
	for _, item := range items {
		list = append(list, showBlob(c.str("container-name"), item.Name, item.Properties))
	}
	return list, nil
}

func blobShow(ctx context.Context, c *Call) (any, error) {
	client, err := c.blobClient(ctx)
	if err != nil {
		return nil, err
	}
	props, err := client.Head(ctx, c.str("container-name"), c.str("name"))
	if err != nil {
		return nil, err
	}
	return showBlob(c.str("container-name"), c.str("name"), props), nil
}

func blobExists(ctx context.Context, c *Call) (any, error) {
	client, err := c.blobClient(ctx)
	if err != nil {
		return nil, err
	}
	_, err = client.Head(ctx, c.str("container-name"), c.str("name"))
	return exists(err)
}

func blobDelete(ctx context.Context, c *Call) (any, error) {
	client, err := c.blobClient(ctx)
	if err != nil {
		return nil, err
	}
	return nil, client.Delete(ctx, c.str("container-name"), c.str("name"))
}
