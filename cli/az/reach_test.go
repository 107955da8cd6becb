package az

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// resourceManager answers every GET with one resource that also is a list of
// it, and every DELETE that all is gone. It returns the requests that it saw.
func resourceManager(t *testing.T, a *App) *[]string {
	t.Helper()
	var seen []string
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/oauth2/v2.0/token") {
			_, _ = io.WriteString(w, `{"access_token":"x","expires_in":3600}`)
			return
		}
		seen = append(seen, r.Method+" "+r.URL.RequestURI())
		if r.Method == http.MethodDelete {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		one := `"id":"/subscriptions/sub/resourceGroups/rg/providers/Some.Type/things/X","name":"X","properties":{"traffic":{}}`
		_, _ = io.WriteString(w, `{`+one+`,"value":[{`+one+`}]}`)
	}))
	t.Cleanup(service.Close)
	s, err := a.Session()
	if err != nil {
		t.Fatal(err)
	}
	s.ARM, s.Login = service.URL, service.URL
	return &seen
}

// TestEachCommandReachesItsResource holds what show, list and delete ask for.
func TestEachCommandReachesItsResource(t *testing.T) {
	const (
		group     = "/subscriptions/sub/resourceGroups/rg"
		elsewhere = "/subscriptions/sub/resourceGroups/G%20h"
		identity  = "/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
		account   = "/providers/Microsoft.Storage/storageAccounts"
		template  = "/providers/Microsoft.Resources/deployments"
		workspace = group + "/providers/Microsoft.MachineLearningServices/workspaces"
		endpoints = workspace + "/ws/onlineEndpoints"
	)
	for _, tt := range []struct {
		command string
		want    []string
	}{
		{"group show -n rg", []string{"GET " + group + "?api-version=2024-11-01"}},
		{"group list", []string{"GET /subscriptions/sub/resourceGroups?api-version=2024-11-01"}},
		{"group exists -n rg", []string{"HEAD " + group + "?api-version=2024-11-01"}},
		{"group delete -n rg --yes", []string{"DELETE " + group + "?api-version=2024-11-01"}},
		{"group delete -n rg", nil},
		{"identity show -n X -g G_h", []string{"GET " + elsewhere + identity + "/X?api-version=2023-01-31"}},
		{"identity list -g G_h", []string{"GET " + elsewhere + identity + "?api-version=2023-01-31"}},
		{"identity delete -n X", []string{"DELETE " + group + identity + "/X?api-version=2023-01-31"}},
		{"storage account show -n X -g G_h", []string{"GET " + elsewhere + account + "/X?api-version=2024-01-01"}},
		{"storage account list -g G_h", []string{"GET " + elsewhere + account + "?api-version=2024-01-01"}},
		{"storage account delete -n X --yes", []string{"DELETE " + group + account + "/X?api-version=2024-01-01"}},
		{"storage account delete -n X", nil},
		{"deployment group show -n X -g rg", []string{"GET " + group + template + "/X?api-version=2024-11-01"}},
		{"deployment group list -g rg", []string{"GET " + group + template + "?api-version=2024-11-01"}},
		{"deployment group delete -n X -g rg", []string{"DELETE " + group + template + "/X?api-version=2024-11-01"}},
		{"ml workspace show -n X", []string{"GET " + workspace + "/X?api-version=2024-10-01-preview"}},
		{"ml workspace list", []string{"GET " + workspace + "?api-version=2024-10-01-preview"}},
		{"ml datastore show -n X", []string{"GET " + workspace + "/ws/datastores/X?api-version=2024-07-01-preview"}},
		{"ml datastore list", []string{"GET " + workspace + "/ws/datastores?api-version=2024-07-01-preview"}},
		{"ml model show -n X --version 1", []string{"GET " + workspace + "/ws/models/X/versions/1?api-version=2023-08-01-preview"}},
		{"ml model list", []string{"GET " + workspace + "/ws/models?api-version=2023-08-01-preview"}},
		{"ml environment list -n X", []string{"GET " + workspace + "/ws/environments/X/versions?api-version=2023-04-01-preview"}},
		{"ml online-endpoint show -n X", []string{"GET " + endpoints + "/X?api-version=2022-02-01-preview", "GET " + endpoints + "/X/deployments?api-version=2022-02-01-preview"}},
		{"ml online-endpoint list", []string{"GET " + endpoints + "?api-version=2022-02-01-preview"}},
		{"ml online-endpoint list --local", nil},
		{"ml online-endpoint delete -n X --yes", []string{"DELETE " + endpoints + "/X?api-version=2022-02-01-preview"}},
		{"ml online-endpoint delete -n X", nil},
		{"ml online-deployment show -e e -n X", []string{"GET " + endpoints + "/e/deployments/X?api-version=2023-04-01-preview"}},
		{"ml online-deployment list -e e", []string{"GET " + endpoints + "/e/deployments?api-version=2023-04-01-preview"}},
		{"ml online-deployment delete -e e -n X --yes", []string{"DELETE " + endpoints + "/e/deployments/X?api-version=2023-04-01-preview"}},
		{"ml online-deployment delete -e e -n X", nil},
		{"ml online-deployment delete -e e -n X --yes --local", nil},
	} {
		a, out, errs := app(t)
		root := a.Root()
		seen := resourceManager(t, a)
		args := strings.Fields(tt.command)
		if i := slices.Index(args, "G_h"); i >= 0 {
			args[i] = "G h"
		}
		code := a.Execute(context.Background(), root, args)
		if diff := cmp.Diff(tt.want, *seen); diff != "" || (code == 0) != (tt.want != nil) {
			t.Errorf("%s: %d %s%s", tt.command, code, diff, errs)
		}
		if reads := len(tt.want) > 0 && strings.HasPrefix(tt.want[0], "GET"); reads != strings.Contains(out.String(), `"name": "X"`) {
			t.Errorf("%s: printed %s", tt.command, out)
		}
	}
}

func TestDeletingWhatIsNotThereIsNoFailureOnlyWhereAzSaysSo(t *testing.T) {
	for command, want := range map[string]int{
		"identity delete -n X": 0, "storage account delete -n X --yes": 0,
		"group delete -n rg --yes": 3, "ml online-endpoint delete -n X --yes": 3,
	} {
		a, _, errs := app(t)
		root := a.Root()
		service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/oauth2/v2.0/token") {
				_, _ = io.WriteString(w, `{"access_token":"x","expires_in":3600}`)
				return
			}
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"error":{"code":"ResourceNotFound","message":"gone"}}`)
		}))
		s, err := a.Session()
		if err != nil {
			t.Fatal(err)
		}
		s.ARM, s.Login = service.URL, service.URL
		if code := a.Execute(context.Background(), root, strings.Fields(command)); code != want {
			t.Errorf("%s: %d, want %d: %s", command, code, want, errs)
		}
		service.Close()
	}
}
