package gateway

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// azureDomains are the domains under which Azure offers its control and data
// planes, the sovereign clouds included.
func azureDomains() []string {
	return []string{
		"azure.com", "azure.net", "windows.net", "azurecr.io", "azureml.ms", "azureml.net",
		"microsoftonline.com", "login.microsoft.com", "graph.microsoft.com", "login.live.com",
		"azuredatabricks.net", "azuresynapse.net", "scm.azurewebsites.net", "services.visualstudio.com",
		"azure.us", "usgovcloudapi.net", "microsoftonline.us", "graph.microsoft.us", "azurecr.us",
		"azure.cn", "chinacloudapi.cn", "microsoftonline.cn", "azurecr.cn",
	}
}

// openDomains lie within the domains above but are no plane of a
// subscription: source code and package feeds of Azure DevOps.
func openDomains() []string { return []string{"dev.azure.com"} }

// DefaultAzureName reports whether a request for host would reach a control or
// data plane of Azure, and so must never leave the machine. host is lower-case.
//
// These are not Azure names, and pass: mcr.microsoft.com and
// packages.microsoft.com (images and packages for everybody), the rest of
// microsoft.com, aka.ms, *.azureedge.net, web applications of others on
// *.azurewebsites.net, and Azure DevOps (dev.azure.com, where pip feeds are).
func DefaultAzureName(host string) bool {
	for _, domain := range openDomains() {
		if within(host, domain) {
			return false
		}
	}
	for _, domain := range azureDomains() {
		if within(host, domain) {
			return true
		}
	}
	return false
}

// splitAuthority parses "host" or "host:port", as in a Host header or the
// target of CONNECT. The host comes back lower-case without a trailing dot, an
// address in its shortest form and without brackets; port is "" if there is none.
func splitAuthority(s string) (host, port string, err error) {
	bad := func(what string) (string, string, error) {
		return "", "", fmt.Errorf("%q is no host name or address with a port: %s", clip(s), what)
	}
	rest := ""
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return bad("the bracket does not close")
		}
		host, rest = s[1:end], s[end+1:]
		if ip, err := netip.ParseAddr(host); err != nil || !ip.Is6() || ip.Zone() != "" {
			return bad("no IPv6 address in brackets")
		}
	} else {
		i := strings.IndexByte(s, ':')
		if i < 0 {
			i = len(s)
		}
		host, rest = s[:i], s[i:]
	}
	if rest != "" {
		var ok bool
		if port, ok = strings.CutPrefix(rest, ":"); !ok || !validPort(port) {
			return bad("the port is not 1 to 65535")
		}
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().String(), port, nil
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if what := nameFault(host); what != "" {
		return bad(what)
	}
	return host, port, nil
}

func validPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && s[0] != '0'
}

// nameFault says what is wrong with a lower-case host name, or "".
func nameFault(host string) string {
	if len(host) == 0 || len(host) > 253 {
		return "the name has not 1 to 253 characters"
	}
	last := ""
	for label := range strings.SplitSeq(host, ".") {
		if len(label) == 0 || len(label) > 63 {
			return "a part of the name has not 1 to 63 characters"
		}
		for _, c := range []byte(label) {
			if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
				return "a name has only letters, digits, - and _"
			}
		}
		last = label
	}
	// "127.1", "0x7f000001" and the like are read as addresses by some resolvers.
	if last[0] >= '0' && last[0] <= '9' {
		return "a name does not end in a number"
	}
	return ""
}

// clip bounds what outside text brings into messages and logs.
func clip(s string) string {
	if len(s) > 100 {
		return s[:100] + "..."
	}
	return s
}

// guardedAddress reports whether the proxy must not lead to an address: this
// machine, its links, and the metadata services of clouds.
func guardedAddress(ip netip.Addr) bool {
	ip = ip.Unmap()
	if ip.IsLoopback() || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLinkLocalUnicast() {
		return true
	}
	return ip.Is4() && ip.As4()[0] == 0 || // 0.0.0.0/8 is this host
		ip == netip.AddrFrom4([4]byte{168, 63, 129, 16}) || // Azure's host agent
		ip == netip.MustParseAddr("fd00:ec2::254")
}
