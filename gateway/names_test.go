package gateway

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func TestSplitAuthority(t *testing.T) {
	for _, c := range []struct{ in, host, port string }{
		{"management.azure.com:443", "management.azure.com", "443"},
		{"Management.AZURE.com.", "management.azure.com", ""},
		{"a_b.example.org:65535", "a_b.example.org", "65535"},
		{"localhost:1", "localhost", "1"},
		{"127.0.0.1:80", "127.0.0.1", "80"},
		{"[::1]:80", "::1", "80"},
		{"[0:0::1]", "::1", ""},
		{"[::ffff:127.0.0.1]:443", "127.0.0.1", "443"},
		{"xn--nxasmq6b.example:443", "xn--nxasmq6b.example", "443"},
		{"1.example:443", "1.example", "443"},
	} {
		host, port, err := splitAuthority(c.in)
		if err != nil || host != c.host || port != c.port {
			t.Errorf("%q: %q %q %v", c.in, host, port, err)
		}
	}
	for _, in := range []string{
		"", ":", ":443", "a:", "a:0", "a:65536", "a:080", "a:+80", "a:x", "a:80:90", "::1", "[::1", "[::1]x", "[::1]:", "[a]:80", "[127.0.0.1]:80",
		"[fe80::1%25eth0]:80", "[fe80::1%eth0]:80", "fe80::1%eth0", "user@host:80", "a b:80", "a/b:80", "a..b", ".a", "a..", "-\x00", "é.example",
		"127.1:80", "2130706433:80", "0x7f.1", "0x7f000001", "1.2.3.4.5", "127.0.0.01", "a\r\nX: y",
		strings.Repeat("a", 64) + ".example", strings.Repeat("a.", 127) + "example",
	} {
		if host, port, err := splitAuthority(in); err == nil {
			t.Errorf("%q gave %q %q", in, host, port)
		}
	}
}

func FuzzSplitAuthority(f *testing.F) {
	for _, seed := range []string{"a.example:443", "[::1]:80", "127.0.0.1", "A.B.:1", "[::ffff:1.2.3.4]:5", "0x7f.1:80", "a@b:1", "a%2eb", "xn--a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		host, port, err := splitAuthority(s)
		if err != nil {
			return
		}
		again := host
		ip, notIP := netip.ParseAddr(host)
		if notIP == nil && ip.Is6() {
			again = "[" + host + "]"
		}
		if port != "" {
			again = net.JoinHostPort(host, port)
		}
		host2, port2, err := splitAuthority(again)
		if err != nil || host2 != host || port2 != port {
			t.Errorf("%q gave %q %q, which gave %q %q %v", s, host, port, host2, port2, err)
		}
		if strings.ContainsAny(host, "\x00\r\n /@%?#") || host != strings.ToLower(host) || (notIP != nil && strings.HasSuffix(host, ".")) {
			t.Errorf("%q gave the host %q", s, host)
		}
		if resolved := net.ParseIP(host); resolved != nil && notIP != nil {
			t.Errorf("%q gave the name %q, which is an address", s, host)
		}
	})
}

func TestDefaultAzureName(t *testing.T) {
	for _, host := range []string{
		"management.azure.com", "azure.com", "x.eastus.inference.ml.azure.com", "login.microsoftonline.com", "acct.blob.core.windows.net",
		"login.windows.net", "graph.windows.net", "graph.microsoft.com", "login.microsoft.com", "reg.azurecr.io", "v.vault.azure.net",
		"ws.workspace.eastus.api.azureml.ms", "management.usgovcloudapi.net", "management.chinacloudapi.cn", "app.scm.azurewebsites.net",
		"dc.services.visualstudio.com",
	} {
		if !DefaultAzureName(host) {
			t.Errorf("%s may pass", host)
		}
	}
	for _, host := range []string{
		"mcr.microsoft.com", "eastus.data.mcr.microsoft.com", "packages.microsoft.com", "learn.microsoft.com", "microsoft.com", "aka.ms",
		"pypi.org", "files.pythonhosted.org", "pkgs.dev.azure.com", "dev.azure.com", "notazure.com", "azure.com.example.org", "example.org",
		"mysite.azurewebsites.net", "cdn.azureedge.net", "localhost",
	} {
		if DefaultAzureName(host) {
			t.Errorf("%s is held back", host)
		}
	}
}

func TestDecide(t *testing.T) {
	served := map[string]bool{"management.azure.com": true, "arm.lapis.localhost": true, "localhost": true, "127.0.0.1": true}
	face := func(host string) (http.Handler, bool) { return http.NotFoundHandler(), served[host] }
	for _, c := range []struct{ host, open, closed string }{ // outcome under allow, under deny
		{"management.azure.com", "face", "face"},
		{"arm.lapis.localhost", "face", "face"},
		{"other.azure.com", "AzureNameNotServed", "AzureNameNotServed"},
		{"acct.blob.core.windows.net", "AzureNameNotServed", "AzureNameNotServed"},
		{"localhost", "AddressNotAllowed", "AddressNotAllowed"}, // even though a face has it
		{"other.localhost", "AddressNotAllowed", "AddressNotAllowed"},
		{"127.0.0.1", "AddressNotAllowed", "AddressNotAllowed"},
		{"127.255.0.1", "AddressNotAllowed", "AddressNotAllowed"},
		{"::1", "AddressNotAllowed", "AddressNotAllowed"},
		{"0.0.0.0", "AddressNotAllowed", "AddressNotAllowed"},
		{"0.1.2.3", "AddressNotAllowed", "AddressNotAllowed"},
		{"::", "AddressNotAllowed", "AddressNotAllowed"},
		{"169.254.169.254", "AddressNotAllowed", "AddressNotAllowed"},
		{"fe80::1", "AddressNotAllowed", "AddressNotAllowed"},
		{"fd00:ec2::254", "AddressNotAllowed", "AddressNotAllowed"},
		{"168.63.129.16", "AddressNotAllowed", "AddressNotAllowed"},
		{"224.0.0.1", "AddressNotAllowed", "AddressNotAllowed"},
		{"10.1.2.3", "out", "EgressDenied"},
		{"pypi.org", "out", "EgressDenied"},
		{"mcr.microsoft.com", "out", "EgressDenied"},
	} {
		for egress, want := range map[Egress]string{EgressAllow: c.open, EgressDeny: c.closed} {
			got := rules{face, DefaultAzureName, egress}.decide(c.host)
			outcome := "out"
			switch {
			case got.refused != nil:
				outcome = got.refused.code
			case got.face != nil:
				outcome = "face"
			}
			if outcome != want {
				t.Errorf("%s under %d: %s, want %s", c.host, egress, outcome, want)
			}
		}
	}
}
