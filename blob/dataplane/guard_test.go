package dataplane_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// The account that a key's holder names is the one that is addressed, even
// where the signature would do.
func TestSharedKeyNamesTheAccount(t *testing.T) {
	w := newWorld(t)
	w.container("data")
	w.put("/data/b", "text")
	r := httptest.NewRequest("GET", "https://"+accountHost+"/data/b", nil)
	r.Header.Set("x-ms-date", w.clock().Format(http.TimeFormat))
	r.Header.Set("x-ms-version", "2021-12-02")
	r.Header.Set("Authorization", "SharedKey another:"+naive(accountKey, r, accountName))
	expect(t, "another account's name", w.send(r), 403, "AuthenticationFailed")
}
