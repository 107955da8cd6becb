package dataplane_test

import (
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"
)

func sum(text string) string {
	s := md5.Sum([]byte(text))
	return base64.StdEncoding.EncodeToString(s[:])
}

func TestBlobComesBackAsItWasPut(t *testing.T) {
	w := newWorld(t)
	w.container("data")
	res := w.must(201, call{method: "PUT", path: "/data/dir/a%20b%2Fc.txt", body: "hello", header: map[string]string{
		"x-ms-blob-type": "BlockBlob", "Content-Type": "text/plain", "x-ms-blob-cache-control": "no-store",
		"x-ms-meta-Color": "red", "x-ms-client-request-id": "abc", "Content-MD5": sum("hello"),
	}})
	if res.Header.Get("Content-MD5") != sum("hello") || !strings.HasPrefix(res.Header.Get("ETag"), `"0x`) {
		t.Errorf("headers of the answer: %v", res.Header)
	}
	res = w.must(200, get("/data/dir/a%20b/c.txt"))
	if got := text(res); got != "hello" {
		t.Errorf("content %q", got)
	}
	for name, want := range map[string]string{
		"Content-Type": "text/plain", "Cache-Control": "no-store", "Content-Length": "5", "Content-MD5": sum("hello"),
		"x-ms-blob-type": "BlockBlob", "x-ms-lease-status": "unlocked", "x-ms-lease-state": "available",
		"x-ms-server-encrypted": "true", "Accept-Ranges": "bytes", "x-ms-version": "2021-12-02",
		"Last-Modified": "Mon, 01 Jun 2026 12:00:00 GMT", "x-ms-creation-time": "Mon, 01 Jun 2026 12:00:00 GMT",
	} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s: %q, not %q", name, got, want)
		}
	}
	if meta(res, "color") != "red" {
		t.Errorf("metadata: %v", res.Header)
	}
	res = w.must(200, call{method: "HEAD", path: "/data/dir/a%20b/c.txt"})
	if res.Header.Get("Content-Length") != "5" || res.Header.Get("x-ms-access-tier") != "Hot" {
		t.Errorf("HEAD: %v", res.Header)
	}
}

func TestGetTakesWhatOldScriptsSend(t *testing.T) {
	w := newWorld(t)
	w.container("data")
	w.put("/data/hello.txt", "hello")
	res := w.must(200, call{method: "GET", path: "/data/hello.txt?api-version=2019-04-01", header: map[string]string{
		"x-ms-version": "2019-02-02", "x-ms-blob-type": "BlockBlob",
	}})
	if text(res) != "hello" || res.Header.Get("x-ms-version") != "2019-02-02" {
		t.Errorf("answer: %v", res.Header)
	}
}

func TestRanges(t *testing.T) {
	w := newWorld(t)
	w.container("data")
	w.put("/data/ten", "0123456789")
	w.put("/data/empty", "")
	for _, c := range []struct {
		path, name, value string
		status            int
		body, content     string
	}{
		{"/data/ten", "x-ms-range", "bytes=2-4", 206, "234", "bytes 2-4/10"},
		{"/data/ten", "Range", "bytes=8-", 206, "89", "bytes 8-9/10"},
		{"/data/ten", "Range", "bytes=0-33554431", 206, "0123456789", "bytes 0-9/10"},
		{"/data/ten", "Range", "bytes=10-", 416, "", "bytes */10"},
		{"/data/ten", "Range", "bytes=-3", 200, "0123456789", ""},
		{"/data/ten", "Range", "bytes=0-1,3-4", 200, "0123456789", ""},
		{"/data/ten", "x-ms-range", "bytes=4-2", 400, "", ""},
		{"/data/ten", "x-ms-range", "bytes=+1-2", 400, "", ""},
		{"/data/ten", "x-ms-range", "items=1-2", 400, "", ""},
		{"/data/ten", "x-ms-range", "bytes=99999999999999999999-", 400, "", ""},
		{"/data/empty", "x-ms-range", "bytes=0-99", 416, "", "bytes */0"},
	} {
		res := w.must(c.status, call{method: "GET", path: c.path, header: map[string]string{c.name: c.value}})
		if got := res.Header.Get("Content-Range"); got != c.content {
			t.Errorf("%s: Content-Range %q, not %q", c.value, got, c.content)
		}
		if body := text(res); c.status < 300 && body != c.body {
			t.Errorf("%s: body %q, not %q", c.value, body, c.body)
		}
		if c.status == 416 && res.Header.Get("x-ms-error-code") != "InvalidRange" {
			t.Errorf("%s: code %q", c.value, res.Header.Get("x-ms-error-code"))
		}
	}
}

func TestRangeDigests(t *testing.T) {
	w := newWorld(t)
	w.container("data")
	w.put("/data/ten", "0123456789")
	res := w.must(206, call{method: "GET", path: "/data/ten", header: map[string]string{"x-ms-range": "bytes=2-4", "x-ms-range-get-content-md5": "true"}})
	if res.Header.Get("Content-MD5") != sum("234") || res.Header.Get("x-ms-blob-content-md5") != sum("0123456789") {
		t.Errorf("headers %v", res.Header)
	}
	w.must(400, call{method: "GET", path: "/data/ten", header: map[string]string{"x-ms-range-get-content-md5": "true"}})
	w.put("/data/big", strings.Repeat("x", 5<<20))
	w.must(400, call{method: "GET", path: "/data/big", header: map[string]string{"x-ms-range": "bytes=0-", "x-ms-range-get-content-md5": "true"}})
}

func TestBlocksBecomeABlob(t *testing.T) {
	w := newWorld(t)
	w.container("data")
	id := func(n int) string { return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "block-%03d", n)) }
	stage := func(n int, body string) {
		w.must(201, call{method: "PUT", path: "/data/b?" + query("comp", "block", "blockid", id(n)), body: body})
	}
	commit := func(status int, list string) {
		w.must(status, call{method: "PUT", path: "/data/b?comp=blocklist", body: "<?xml version='1.0' encoding='utf-8'?><BlockList>" + list + "</BlockList>",
			header: map[string]string{"x-ms-blob-content-type": "text/css", "Content-Type": "application/xml"}})
	}
	content := func(want string) {
		t.Helper()
		res := w.must(200, get("/data/b"))
		if got := text(res); got != want || res.Header.Get("Content-Type") != "text/css" {
			t.Errorf("content %q, not %q; %v", got, want, res.Header)
		}
	}
	stage(1, "one")
	stage(2, "two")
	stage(3, "three")
	w.must(404, get("/data/b"))
	if list := text(w.must(200, get("/data/b?comp=blocklist&blocklisttype=all"))); !strings.Contains(list, "<CommittedBlocks></CommittedBlocks>") || strings.Count(list, "<Block>") != 3 {
		t.Errorf("block list %s", list)
	}
	commit(201, "<Latest>"+id(2)+"</Latest><Uncommitted>"+id(1)+"</Uncommitted>")
	content("twoone")
	commit(400, "<Latest>"+id(3)+"</Latest>") // dropped by the commit
	stage(2, "TWO")
	commit(201, "<Committed>"+id(2)+"</Committed><Latest>"+id(2)+"</Latest><Latest>"+id(1)+"</Latest>")
	content("twoTWOone")
	res := w.must(206, call{method: "GET", path: "/data/b", header: map[string]string{"Range": "bytes=2-6"}})
	if got := text(res); got != "oTWOo" {
		t.Errorf("range over blocks: %q", got)
	}
	commit(201, "")
	content("")
}

func TestBlockRules(t *testing.T) {
	w := newWorld(t)
	w.container("data")
	good := base64.StdEncoding.EncodeToString([]byte("0001"))
	w.must(201, call{method: "PUT", path: "/data/b?" + query("comp", "block", "blockid", good), body: "x"})
	for name, c := range map[string]call{
		"no id":               {method: "PUT", path: "/data/b?comp=block", body: "x"},
		"id not base64":       {method: "PUT", path: "/data/b?comp=block&blockid=%25", body: "x"},
		"id of other length":  {method: "PUT", path: "/data/b?" + query("comp", "block", "blockid", "MDAwMDE="), body: "x"},
		"no bytes":            {method: "PUT", path: "/data/b?" + query("comp", "block", "blockid", good)},
		"wrong digest":        {method: "PUT", path: "/data/b?" + query("comp", "block", "blockid", good), body: "x", header: map[string]string{"Content-MD5": sum("y")}},
		"digest not base64":   {method: "PUT", path: "/data/b?" + query("comp", "block", "blockid", good), body: "x", header: map[string]string{"Content-MD5": "abc"}},
		"list is no list":     {method: "PUT", path: "/data/b?comp=blocklist", body: "<List/>"},
		"list is cut off":     {method: "PUT", path: "/data/b?comp=blocklist", body: "<BlockList><Latest>"},
		"list has a doctype":  {method: "PUT", path: "/data/b?comp=blocklist", body: "<!DOCTYPE x><BlockList></BlockList>"},
		"list without a body": {method: "PUT", path: "/data/b?comp=blocklist"},
	} {
		if res := w.do(w.owner(c)); res.StatusCode != 400 {
			t.Errorf("%s: status %d %s", name, res.StatusCode, text(res))
		}
	}
}

func TestUncommittedBlocksExpireAfterAWeek(t *testing.T) {
	w := newWorld(t)
	w.container("data")
	id := base64.StdEncoding.EncodeToString([]byte("0001"))
	w.must(201, call{method: "PUT", path: "/data/b?" + query("comp", "block", "blockid", id), body: "x"})
	w.advance(6 * 24 * time.Hour)
	w.must(200, get("/data/b?comp=blocklist&blocklisttype=uncommitted"))
	w.advance(25 * time.Hour)
	w.must(404, get("/data/b?comp=blocklist&blocklisttype=uncommitted"))
	w.must(400, call{method: "PUT", path: "/data/b?comp=blocklist", body: "<BlockList><Latest>" + id + "</Latest></BlockList>"})
}

func TestPutIsRefusedWithItsReason(t *testing.T) {
	w := newWorld(t)
	w.container("data")
	w.put("/data/there", "x")
	block := func(extra ...string) map[string]string {
		h := map[string]string{"x-ms-blob-type": "BlockBlob"}
		for i := 0; i < len(extra); i += 2 {
			h[extra[i]] = extra[i+1]
		}
		return h
	}
	for _, c := range []struct {
		code   string
		status int
		call   call
	}{
		{"MissingRequiredHeader", 400, call{method: "PUT", path: "/data/b"}},
		{"NotImplemented", 501, call{method: "PUT", path: "/data/b", header: map[string]string{"x-ms-blob-type": "PageBlob"}}},
		{"NotImplemented", 501, call{method: "PUT", path: "/data/b", header: map[string]string{"x-ms-blob-type": "AppendBlob"}}},
		{"InvalidHeaderValue", 400, call{method: "PUT", path: "/data/b", header: map[string]string{"x-ms-blob-type": "Heap"}}},
		{"Md5Mismatch", 400, call{method: "PUT", path: "/data/b", body: "a", header: block("Content-MD5", sum("b"))}},
		{"Md5Mismatch", 400, call{method: "PUT", path: "/data/b", body: "a", header: block("x-ms-blob-content-md5", sum("b"))}},
		{"InvalidMd5", 400, call{method: "PUT", path: "/data/b", body: "a", header: block("Content-MD5", "!")}},
		{"Crc64Mismatch", 400, call{method: "PUT", path: "/data/b", body: "a", header: block("x-ms-content-crc64", "AAAAAAAAAAA=")}},
		{"MissingContentLengthHeader", 411, call{method: "PUT", path: "/data/b", body: "a", length: -1, header: block()}},
		{"RequestBodyTooLarge", 413, call{method: "PUT", path: "/data/b", body: "a", length: 6000 << 20, header: block()}},
		{"RequestBodyTooLarge", 413, call{method: "PUT", path: "/data/b", body: "a", length: 257 << 20, header: block("x-ms-version", "2018-11-09")}},
		{"InvalidMetadata", 400, call{method: "PUT", path: "/data/b", header: block("x-ms-meta-1a", "x")}},
		{"MetadataTooLarge", 400, call{method: "PUT", path: "/data/b", header: block("x-ms-meta-a", strings.Repeat("x", 9000))}},
		{"ContainerNotFound", 404, call{method: "PUT", path: "/other/b", header: block()}},
		{"InvalidResourceName", 400, call{method: "PUT", path: "/Other/b", header: block()}},
		{"BlobAlreadyExists", 409, call{method: "PUT", path: "/data/there", header: block("If-None-Match", "*")}},
		{"ConditionNotMet", 412, call{method: "PUT", path: "/data/there", header: block("If-Match", `"0x1"`)}},
		{"InvalidHeaderValue", 400, call{method: "PUT", path: "/data/b", header: block("x-ms-version", "latest")}},
		{"NotImplemented", 501, call{method: "PUT", path: "/data/b", header: block("x-ms-tags", "a=b")}},
		{"NotImplemented", 501, call{method: "PUT", path: "/data/b", header: block("x-ms-encryption-key", "a")}},
		{"NotImplemented", 501, call{method: "PUT", path: "/data/b", header: block("x-ms-access-tier", "Archive")}},
		{"LeaseNotPresentWithBlobOperation", 412, call{method: "PUT", path: "/data/b", header: block("x-ms-lease-id", "a")}},
		{"NotImplemented", 501, call{method: "PUT", path: "/data/b?comp=lease"}},
		{"InvalidQueryParameterValue", 400, call{method: "PUT", path: "/data/b?comp=nonsense"}},
		{"UnsupportedHttpVerb", 405, call{method: "PATCH", path: "/data/b"}},
	} {
		res := w.do(w.owner(c.call))
		if got := res.Header.Get("x-ms-error-code"); got != c.code || res.StatusCode != c.status {
			t.Errorf("%v: %d %s, not %d %s", c.call.header, res.StatusCode, got, c.status, c.code)
		}
		if body := text(res); !strings.Contains(body, "<Code>"+c.code+"</Code>") {
			t.Errorf("%s: body %q", c.code, body)
		}
	}
	w.must(404, get("/data/b"))
}

func TestConditionalReads(t *testing.T) {
	w := newWorld(t)
	w.container("data")
	etag := w.put("/data/b", "x").Header.Get("ETag")
	for _, c := range []struct {
		name, value string
		status      int
	}{
		{"If-Match", etag, 200},
		{"If-Match", `"0x1"`, 412},
		{"If-None-Match", etag, 304},
		{"If-None-Match", `"0x1"`, 200},
		{"If-None-Match", "*", 400},
		{"If-Modified-Since", "Mon, 01 Jun 2026 12:00:00 GMT", 304},
		{"If-Modified-Since", "Mon, 01 Jun 2026 11:59:59 GMT", 200},
		{"If-Unmodified-Since", "Mon, 01 Jun 2026 12:00:00 GMT", 200},
		{"If-Unmodified-Since", "Mon, 01 Jun 2026 11:59:59 GMT", 412},
		{"If-Modified-Since", "yesterday", 400},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			res := w.do(w.owner(call{method: method, path: "/data/b", header: map[string]string{c.name: c.value}}))
			if res.StatusCode != c.status {
				t.Errorf("%s %s %s: status %d, not %d", method, c.name, c.value, res.StatusCode, c.status)
			}
			if body := text(res); (method == "HEAD" || c.status == 304) && body != "" {
				t.Errorf("%s %s: body %q", method, c.name, body)
			}
		}
	}
}

func TestMetadataAndHeadersAreReplaced(t *testing.T) {
	w := newWorld(t)
	w.container("data")
	w.put("/data/b", "x")
	w.must(200, call{method: "PUT", path: "/data/b?comp=metadata", header: map[string]string{"x-ms-meta-upload_status": "completed"}})
	res := w.must(200, get("/data/b?comp=metadata"))
	if meta(res, "upload_status") != "completed" {
		t.Errorf("metadata %v", res.Header)
	}
	w.must(200, call{method: "PUT", path: "/data/b?comp=properties", header: map[string]string{"x-ms-blob-content-type": "text/html", "x-ms-blob-content-language": "de"}})
	res = w.must(200, call{method: "HEAD", path: "/data/b"})
	if res.Header.Get("Content-Type") != "text/html" || res.Header.Get("Content-Language") != "de" || res.Header.Get("Content-MD5") != "" {
		t.Errorf("headers %v", res.Header)
	}
	if meta(res, "upload_status") == "" {
		t.Error("metadata went with the headers")
	}
}

func TestDeletedBlobIsGone(t *testing.T) {
	w := newWorld(t)
	w.container("data")
	w.put("/data/b", "x")
	w.must(202, call{method: "DELETE", path: "/data/b", header: map[string]string{"x-ms-delete-snapshots": "only"}})
	w.must(202, call{method: "DELETE", path: "/data/b", header: map[string]string{"x-ms-delete-snapshots": "include"}})
	w.must(404, get("/data/b"))
	w.must(404, call{method: "DELETE", path: "/data/b"})
	w.must(404, get("/data/b?snapshot=2026-01-01T00:00:00Z"))
}

func TestCopyWithinTheAccount(t *testing.T) {
	w := newWorld(t)
	w.container("data")
	w.must(201, call{method: "PUT", path: "/data/from", body: "bytes", header: map[string]string{"x-ms-blob-type": "BlockBlob", "x-ms-meta-k": "v", "Content-Type": "text/css"}})
	source := "https://" + accountHost + "/data/from"
	res := w.must(202, call{method: "PUT", path: "/data/to", header: map[string]string{"x-ms-copy-source": source}})
	if res.Header.Get("x-ms-copy-status") != "success" || res.Header.Get("x-ms-copy-id") == "" {
		t.Errorf("answer %v", res.Header)
	}
	w.must(202, call{method: "DELETE", path: "/data/from"})
	res = w.must(200, get("/data/to"))
	if text(res) != "bytes" || res.Header.Get("Content-Type") != "text/css" || meta(res, "k") != "v" || res.Header.Get("x-ms-copy-source") != source {
		t.Errorf("copy %v", res.Header)
	}
	w.must(404, call{method: "PUT", path: "/data/to", header: map[string]string{"x-ms-copy-source": source}})
	w.must(501, call{method: "PUT", path: "/data/to", header: map[string]string{"x-ms-copy-source": "https://example.com/data/from"}})
	w.must(501, call{method: "PUT", path: "/data/to", header: map[string]string{"x-ms-copy-source": "http://169.254.169.254/latest"}})
}
