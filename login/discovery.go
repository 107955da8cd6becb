package login

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"lapis/fault"
)

// The hosts of the public cloud's authority. The documents name them only to a
// client that came by one of them.
const publicAuthority = "login.microsoftonline.com"

func publicAliases() []string {
	return []string{publicAuthority, "login.windows.net", "login.microsoft.com", "sts.windows.net"}
}

// authority is the host, with its port, by which the client knows us. Clients
// demand that the documents name the host that they asked.
func authority(r *http.Request) string { return strings.TrimSuffix(r.Host, ":443") }

// openID is the discovery document (OpenID Connect Discovery 1.0 section 3),
// with the members that MSAL and the OpenID libraries read. There is no
// device_authorization_endpoint: users cannot sign in.
type openID struct {
	TokenEndpoint         string   `json:"token_endpoint"`
	TokenAuthMethods      []string `json:"token_endpoint_auth_methods_supported"`
	JWKS                  string   `json:"jwks_uri"`
	ResponseModes         []string `json:"response_modes_supported"`
	SubjectTypes          []string `json:"subject_types_supported"`
	SigningAlgorithms     []string `json:"id_token_signing_alg_values_supported"`
	ResponseTypes         []string `json:"response_types_supported"`
	GrantTypes            []string `json:"grant_types_supported"`
	Scopes                []string `json:"scopes_supported"`
	Issuer                string   `json:"issuer"`
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	Claims                []string `json:"claims_supported"`
	TenantRegionScope     *string  `json:"tenant_region_scope"`
	CloudInstanceName     string   `json:"cloud_instance_name"`
}

func (f *face) document(w http.ResponseWriter, base, version, issuer string) error {
	w.Header().Set("Cache-Control", "max-age=3600, private")
	return json.NewEncoder(w).Encode(openID{
		TokenEndpoint:         base + "/oauth2" + version + "/token",
		AuthorizationEndpoint: base + "/oauth2" + version + "/authorize",
		JWKS:                  base + "/discovery" + version + "/keys",
		Issuer:                issuer,
		TokenAuthMethods:      []string{"client_secret_post", "client_secret_basic"},
		ResponseModes:         []string{"query", "fragment", "form_post"},
		SubjectTypes:          []string{"pairwise"},
		SigningAlgorithms:     []string{"RS256"},
		ResponseTypes:         []string{"code"},
		GrantTypes:            []string{"client_credentials"},
		Scopes:                []string{"openid", "profile", "offline_access"},
		Claims:                []string{"sub", "iss", "aud", "exp", "iat", "nbf", "oid", "tid", "appid", "ver"},
		CloudInstanceName:     "microsoftonline.com",
	})
}

// base is the tenant's root at the host that the client asked. For common and
// organizations it is the real tenant, which MSAL then keeps.
func (f *face) base(r *http.Request) (string, error) {
	segment := r.PathValue("tenant")
	if _, err := f.tenant(segment); err != nil {
		return "", err
	}
	if !strings.EqualFold(segment, "adfs") {
		segment = f.Issuer.Tenant()
	}
	return "https://" + authority(r) + "/" + segment, nil
}

func (f *face) openIDv1(w http.ResponseWriter, r *http.Request) error {
	base, err := f.base(r)
	if err != nil {
		return err
	}
	return f.document(w, base, "", f.Issuer.IssuerV1())
}

func (f *face) openIDv2(w http.ResponseWriter, r *http.Request) error {
	base, err := f.base(r)
	if err != nil {
		return err
	}
	return f.document(w, base, "/v2.0", base+"/v2.0")
}

func (f *face) keys(w http.ResponseWriter, r *http.Request) error {
	if _, err := f.tenant(r.PathValue("tenant")); err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "max-age=3600, private")
	_, err := w.Write(f.Issuer.JWKS())
	return err
}

// instanceAnswer tells a client whether an authority is one, and where its
// discovery document is.
type instanceAnswer struct {
	Endpoint   string  `json:"tenant_discovery_endpoint"`
	APIVersion string  `json:"api-version"`
	Metadata   []cloud `json:"metadata"`
}

type cloud struct {
	Network string   `json:"preferred_network"`
	Cache   string   `json:"preferred_cache"`
	Aliases []string `json:"aliases"`
}

func (f *face) instance(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	asked, err := url.Parse(query.Get("authorization_endpoint"))
	if err != nil || asked.Scheme != "https" || asked.Host == "" {
		return fault.E(fault.Invalid, "AADSTS50049", "authorization_endpoint must be the https address of an authority's authorize endpoint.").At("authorization_endpoint")
	}
	host := strings.ToLower(strings.TrimSuffix(asked.Host, ":443"))
	public := slices.Contains(publicAliases(), host)
	if !public && !strings.EqualFold(host, authority(r)) && !f.Authority(host) {
		return fault.E(fault.Invalid, "AADSTS50049", "%.100q is no authority of this platform.", asked.Host).At("authorization_endpoint")
	}
	segment, _, _ := strings.Cut(strings.TrimPrefix(asked.Path, "/"), "/")
	if _, err := f.tenant(segment); err != nil {
		return err
	}
	version := ""
	if strings.Contains(asked.Path, "/v2.0/") {
		version = "/v2.0"
	}
	answer := instanceAnswer{
		Endpoint:   "https://" + host + "/" + segment + version + "/.well-known/openid-configuration",
		APIVersion: query.Get("api-version"),
		Metadata:   []cloud{},
	}
	if public {
		answer.Metadata = []cloud{{Network: publicAuthority, Cache: "login.windows.net", Aliases: publicAliases()}}
	}
	w.Header().Set("Cache-Control", "max-age=3600, private")
	return json.NewEncoder(w).Encode(answer)
}
