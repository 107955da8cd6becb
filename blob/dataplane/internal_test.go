package dataplane

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lapis/armid"
	"lapis/blob"
	contentmemory "lapis/content/memory"
	"lapis/fault"
	storememory "lapis/store/memory"
)

func blobService(t testing.TB) (*blob.Service, blob.Accounts) {
	t.Helper()
	s, err := blob.New(blob.Config{Store: storememory.New(), Content: contentmemory.New()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	a := blob.Account{
		Name: "acct", AllowSharedKey: true, CreatedAt: time.Unix(1, 0),
		ID: armid.MustParse("/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/acct"),
	}
	return s, func(context.Context, string) (blob.Account, error) { return a, nil }
}

func noToken(_ context.Context, raw string) (string, error) {
	if raw == "known" {
		return "somebody", nil
	}
	return "", fault.E(fault.Unauthenticated, "InvalidToken", "The token is not valid.")
}

func noRole(context.Context, string, string, bool, armid.ID) error {
	return fault.E(fault.Denied, "AuthorizationFailed", "no role")
}

func TestHiddenPartsOfAStringToSign(t *testing.T) {
	in := "PUT\n\nx-ms-copy-source:https://a/b?sv=1&sig=SECRET%3D&se=2\nx-ms-copy-source-authorization:Bearer SECRET\nx-ms-encryption-key:SECRET\n/a/c\ncomp:x\nsig:SECRET"
	if out := hide(in); strings.Contains(out, "SECRET") || !strings.Contains(out, "comp:x") || !strings.Contains(out, "&se=2") {
		t.Error(out)
	}
}

func FuzzRange(f *testing.F) {
	for _, seed := range []string{"bytes=0-", "bytes=1-2", "bytes=-1", "bytes=9223372036854775807-", "bytes=1-2,3-4", "bytes 1-2", "=", "bytes=2-1"} {
		f.Add(seed, int64(10))
	}
	f.Fuzz(func(t *testing.T, text string, size int64) {
		r, ok := parseRange(text)
		if !ok || size < 0 {
			return
		}
		offset, length, err := r.within(size)
		if err == nil && (offset < 0 || length < 1 || offset+length > size) {
			t.Errorf("%q of %d: %d+%d", text, size, offset, length)
		}
	})
}

// FuzzRequest sends whatever parses as a request, as somebody who may do
// everything: no answer is a failure of ours.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		"GET /data/b?restype=&comp=list HTTP/1.1\r\nHost: acct.blob\r\nx-ms-range: bytes=0-1\r\n\r\n",
		"PUT /data/%2e%2e%2f?comp=block&blockid=MDAx HTTP/1.1\r\nHost: acct.blob\r\nContent-Length: 3\r\n\r\nabc",
		"PUT /data/b?comp=blocklist HTTP/1.1\r\nHost: acct.blob\r\nContent-Length: 12\r\n\r\n<BlockList/>",
		"PUT /data/b HTTP/1.1\r\nHost: acct.blob\r\nx-ms-blob-type: BlockBlob\r\nx-ms-meta-a: \xff\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"GET /data?restype=container&comp=list&marker=1!&maxresults=-1&prefix=%00&delimiter=%ff HTTP/1.1\r\nHost: acct.blob\r\n\r\n",
		"PUT /data/c HTTP/1.1\r\nHost: acct.blob\r\nx-ms-copy-source: https://acct.blob/data/b?sig=x\r\nContent-Length: 0\r\n\r\n",
		"HEAD //data//?%zz HTTP/1.1\r\nHost: \r\n\r\n",
	} {
		f.Add(seed)
	}
	service, accounts := blobService(f)
	account, _ := accounts(context.Background(), "")
	if _, err := service.CreateContainer(context.Background(), account.Space(), "data", nil); err != nil {
		f.Fatal(err)
	}
	all := func(context.Context, string, string, bool, armid.ID) error { return nil }
	h := New(Config{Service: service, Accounts: accounts, Verify: noToken, Authorize: all})
	f.Fuzz(func(t *testing.T, raw string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
		if err != nil {
			return
		}
		r.Header.Set("Authorization", "Bearer known")
		r.Header.Set("x-ms-version", "2021-12-02")
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		if rec.Code >= 500 && rec.Code != http.StatusNotImplemented {
			t.Errorf("%q: %d %s", raw, rec.Code, rec.Body)
		}
	})
}

func FuzzBlockList(f *testing.F) {
	for _, seed := range []string{
		"<BlockList><Latest>MDAwMQ==</Latest></BlockList>", "<?xml version='1.0' encoding='utf-8'?><BlockList/>",
		"<BlockList><Latest><a></a>x</Latest></BlockList>", "<!DOCTYPE a [<!ENTITY b 'c'>]><BlockList>&b;</BlockList>",
		"<BlockList/><BlockList/>", "</BlockList>", "", "\xff", "<BlockList>" + strings.Repeat("<Latest>x</Latest>", 100),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		refs, err := readBlockList(strings.NewReader(text))
		if err != nil && !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", text, err)
		}
		if len(refs) > len(text) {
			t.Errorf("%d blocks out of %d bytes", len(refs), len(text))
		}
	})
}

func FuzzMetadata(f *testing.F) {
	f.Add("x-ms-meta-a", "b")
	f.Add("X-Ms-Meta-", "")
	f.Add("x-ms-meta-ä", "\x00")
	f.Fuzz(func(t *testing.T, name, value string) {
		m := readMetadata(map[string][]string{name: {value}})
		if m.Check() != nil {
			return
		}
		for k, v := range m {
			if strings.ContainsAny(k, "<> -:\r\n\x00") || strings.ContainsAny(v, "\r\n\x00") {
				t.Errorf("%q: %q", k, v)
			}
		}
	})
}
