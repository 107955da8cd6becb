package blobs

import (
	"fmt"
	"strings"
)

// Connection is what a storage connection string holds.
type Connection struct {
	Account, Key, SAS, Endpoint string
}

// ParseConnection reads a connection string: Name=value parts joined by
// semicolons. The blob endpoint is BlobEndpoint, or made of the others.
func ParseConnection(text string) (Connection, error) {
	fields := map[string]string{}
	for _, part := range strings.Split(text, ";") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			return Connection{}, fmt.Errorf("the connection string has a part that is not Name=value")
		}
		fields[strings.ToLower(name)] = value
	}
	c := Connection{
		Account:  fields["accountname"],
		Key:      fields["accountkey"],
		SAS:      strings.TrimPrefix(fields["sharedaccesssignature"], "?"),
		Endpoint: strings.TrimSuffix(fields["blobendpoint"], "/"),
	}
	if c.Endpoint == "" && c.Account != "" {
		scheme, suffix := fields["defaultendpointsprotocol"], fields["endpointsuffix"]
		if scheme == "" {
			scheme = "https"
		}
		if suffix == "" {
			suffix = "core.windows.net"
		}
		c.Endpoint = scheme + "://" + c.Account + ".blob." + suffix
	}
	if c.Endpoint == "" || c.Key == "" && c.SAS == "" {
		return Connection{}, fmt.Errorf("the connection string lacks AccountName or BlobEndpoint, or a key or signature")
	}
	if c.Account == "" {
		_, host, _ := strings.Cut(c.Endpoint, "://")
		c.Account, _, _ = strings.Cut(host, ".")
	}
	return c, nil
}
