package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"lapis/identity"
	"lapis/msi"
	"lapis/secret"
	"lapis/store/memory"
	"lapis/token"
)

var somebody = identity.Principal{
	ObjectID: "0b2dd3a6-1111-4222-8333-444455556666", ClientID: "0b2dd3a6-1111-4222-8333-444455557777",
	TenantID: "0b2dd3a6-1111-4222-8333-444455558888", Kind: identity.SystemAssigned,
	ResourceID: "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w/onlineEndpoints/e",
}

// tokens measures the token endpoint of an instance, over its socket, with an
// issuer behind it.
func (b *bench) tokens(ctx context.Context) error {
	key := make([]byte, secret.KeySize)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	sealer, err := secret.NewSealer(key, rand.Reader)
	if err != nil {
		return err
	}
	issuer, err := token.Open(ctx, token.Config{
		Store: memory.New(), Sealer: sealer, TenantID: somebody.TenantID, Alive: func(string) bool { return true },
	})
	if err != nil {
		return err
	}
	defer issuer.Close()
	server, env, err := instanceTokens(ctx, func(ctx context.Context, _, audience, host string) (token.Token, error) {
		return issuer.Token(ctx, token.Request{Principal: somebody, Audience: audience, Host: host})
	})
	if err != nil {
		return err
	}
	defer server.Close()
	bare, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	plain := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, 1500))
	})}
	go func() { _ = plain.Serve(bare) }()
	defer plain.Close()

	c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	header := map[string]string{"secret": env["MSI_SECRET"]}
	get := func(address string) func(int) error {
		return func(int) error { return call(c, "GET", address, header, nil, http.StatusOK, nil) }
	}
	ask, floor := get(env["MSI_ENDPOINT"]+"?api-version=2017-09-01&resource=https://storage.azure.com/"), get("http://"+bare.Addr().String())
	got, err := interleave(5, typical(300, ask), typical(300, floor))
	if err != nil {
		return err
	}
	b.report(figure{name: "token of an instance, cached, p50 at c=1", unit: us, target: 1000, value: got[0], floor: got[1], what: "a Go handler over plain HTTP"})
	n := 0
	fresh := func(int) error {
		n++
		return get(fmt.Sprintf("%s?api-version=2017-09-01&resource=https://fresh%d.example", env["MSI_ENDPOINT"], n))(0)
	}
	if got, err = interleave(5, typical(60, fresh)); err != nil {
		return err
	}
	b.report(figure{name: "token of an instance, fresh, p50 at c=1", unit: us, target: 5000, value: got[0]})
	for _, c := range []int{1, 8} {
		got, err := interleave(5, rate(c, spell, ask), rate(c, spell, floor))
		if err != nil {
			return err
		}
		b.report(figure{name: fmt.Sprintf("token of an instance, cached, c=%d", c), unit: perSec, value: got[0], floor: got[1], what: "a Go handler over plain HTTP"})
	}
	return nil
}

// instanceTokens opens the token endpoint that an instance has, with the
// variables that tell of it.
func instanceTokens(ctx context.Context, give func(ctx context.Context, principal, audience, host string) (token.Token, error)) (*msi.Server, map[string]string, error) {
	server := msi.New(msi.Config{Tokens: give})
	l, err := server.Open(ctx, msi.Instance{ID: "bench", Identities: []identity.Principal{somebody}, Host: somebody.ResourceID})
	if err != nil {
		return nil, nil, err
	}
	env := map[string]string{}
	for _, kv := range l.Env() {
		name, value, _ := strings.Cut(kv, "=")
		env[name] = value
	}
	return server, env, nil
}
