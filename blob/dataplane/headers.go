package dataplane

import (
	"crypto/md5"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"

	"lapis/blob"
	"lapis/fault"
)

const metaPrefix = "x-ms-meta-"

// accountKeyScope is the encryption scope that stands for none.
const accountKeyScope = "$account-encryption-key"

// readMetadata collects the x-ms-meta headers. Their names come in lower case,
// since HTTP libraries do not keep what was sent.
func readMetadata(h http.Header) blob.Metadata {
	var m blob.Metadata
	for name, values := range h {
		lower := strings.ToLower(name)
		if !strings.HasPrefix(lower, metaPrefix) {
			continue
		}
		if m == nil {
			m = blob.Metadata{}
		}
		m[lower[len(metaPrefix):]] = strings.TrimSpace(strings.Join(values, ","))
	}
	return m
}

// writeMetadata keeps the names in lower case: clients read them as they come.
func writeMetadata(h http.Header, m blob.Metadata) {
	for name, value := range m {
		h[metaPrefix+name] = []string{value}
	}
}

// readConditions reads the conditional headers; prefix is "" or "x-ms-source-".
func readConditions(h http.Header, prefix string) (c blob.Conditions, err error) {
	c.IfMatch = strings.TrimSpace(h.Get(prefix + "If-Match"))
	c.IfNoneMatch = strings.TrimSpace(h.Get(prefix + "If-None-Match"))
	for name, to := range map[string]*time.Time{
		prefix + "If-Modified-Since": &c.IfModifiedSince, prefix + "If-Unmodified-Since": &c.IfUnmodifiedSince,
	} {
		text := h.Get(name)
		if text == "" {
			continue
		}
		if *to, err = http.ParseTime(text); err != nil {
			return c, invalidHeader(name, "it is not a date in the form of RFC 1123")
		}
	}
	return c, nil
}

// readBlobHeaders reads the x-ms-blob-* headers that a blob is served with.
func readBlobHeaders(h http.Header) (blob.HTTPHeaders, error) {
	sum, err := readMD5(h, "x-ms-blob-content-md5")
	return blob.HTTPHeaders{
		ContentType:        h.Get("x-ms-blob-content-type"),
		ContentEncoding:    h.Get("x-ms-blob-content-encoding"),
		ContentLanguage:    h.Get("x-ms-blob-content-language"),
		ContentDisposition: h.Get("x-ms-blob-content-disposition"),
		CacheControl:       h.Get("x-ms-blob-cache-control"),
		ContentMD5:         sum,
	}, err
}

// withPlainHeaders fills what is missing from the standard headers, which Put
// Blob takes too.
func withPlainHeaders(to blob.HTTPHeaders, h http.Header) blob.HTTPHeaders {
	for name, field := range map[string]*string{
		"Content-Type": &to.ContentType, "Content-Encoding": &to.ContentEncoding,
		"Content-Language": &to.ContentLanguage, "Cache-Control": &to.CacheControl,
	} {
		if *field == "" {
			*field = h.Get(name)
		}
	}
	return to
}

// readMD5 returns nil where the header is absent.
func readMD5(h http.Header, name string) ([]byte, error) {
	text := h.Get(name)
	if text == "" {
		return nil, nil
	}
	sum, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(sum) != md5.Size {
		return nil, fault.E(fault.Invalid, "InvalidMd5",
			"The MD5 value specified in the request is invalid. MD5 value must be 128 bits and base64 encoded.").At(name)
	}
	return sum, nil
}

// readDigests reads what a client says of the body it sends.
func readDigests(h http.Header) (d blob.Digests, err error) {
	if d.MD5, err = readMD5(h, "Content-MD5"); err != nil {
		return d, err
	}
	text := h.Get("x-ms-content-crc64")
	if text == "" {
		return d, nil
	}
	d.CRC64, err = base64.StdEncoding.DecodeString(text)
	if err != nil || len(d.CRC64) != 8 {
		return d, invalidHeader("x-ms-content-crc64", "it must be base64 of 8 bytes")
	}
	return d, nil
}

// writeDigests answers with the digests that the client can hold against its own.
func writeDigests(h http.Header, said, found blob.Digests) {
	if said.CRC64 != nil {
		h.Set("X-Ms-Content-Crc64", base64.StdEncoding.EncodeToString(found.CRC64))
		return
	}
	h.Set("Content-MD5", base64.StdEncoding.EncodeToString(found.MD5))
}

// bodyLength insists on a declared length.
func bodyLength(r *http.Request, limit int64) (int64, error) {
	if r.ContentLength < 0 {
		return 0, fault.E(fault.Invalid, "MissingContentLengthHeader", "Content-Length header was not specified.")
	}
	if r.ContentLength > limit {
		return 0, fault.E(fault.TooLarge, "RequestBodyTooLarge",
			"The request body is too large and exceeds the maximum permissible limit of %d bytes.", limit)
	}
	return r.ContentLength, nil
}

// writeState writes what every answer about a thing says of its state.
func writeState(h http.Header, etag string, modified time.Time) {
	h.Set("Etag", `"`+etag+`"`)
	h.Set("Last-Modified", httpTime(modified))
}

func httpTime(t time.Time) string { return t.UTC().Format(http.TimeFormat) }

// writeLease says that there is no lease.
func writeLease(h http.Header) {
	h.Set("X-Ms-Lease-Status", "unlocked")
	h.Set("X-Ms-Lease-State", "available")
}

// writeBlobHeaders writes the headers of Get Blob and Get Blob Properties, except
// those that depend on the range.
func writeBlobHeaders(h http.Header, b blob.Blob, c caller) {
	writeState(h, b.ETag, b.Modified)
	writeLease(h)
	writeMetadata(h, b.Metadata)
	h.Set("X-Ms-Creation-Time", httpTime(b.Created))
	h.Set("X-Ms-Blob-Type", "BlockBlob")
	h.Set("X-Ms-Server-Encrypted", "true")
	h.Set("Accept-Ranges", "bytes")
	o := c.override
	for name, values := range map[string][2]string{
		"Content-Type":        {o.ContentType, b.ContentType},
		"Content-Encoding":    {o.ContentEncoding, b.ContentEncoding},
		"Content-Language":    {o.ContentLanguage, b.ContentLanguage},
		"Content-Disposition": {o.ContentDisposition, b.ContentDisposition},
		"Cache-Control":       {o.CacheControl, b.CacheControl},
	} {
		if value := firstOf(values[0], values[1]); value != "" {
			h.Set(name, value)
		}
	}
	if h.Get("Content-Type") == "" {
		h["Content-Type"] = nil // none is set; do not let net/http guess one
	}
	if b.Copy != nil {
		h.Set("X-Ms-Copy-Id", b.Copy.ID)
		h.Set("X-Ms-Copy-Source", b.Copy.Source)
		h.Set("X-Ms-Copy-Status", "success")
		h.Set("X-Ms-Copy-Progress", strconv.FormatInt(b.Size, 10)+"/"+strconv.FormatInt(b.Size, 10))
		h.Set("X-Ms-Copy-Completion-Time", httpTime(b.Copy.Finished))
	}
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// writeMD5 sets a header to a digest, if there is one.
func writeMD5(h http.Header, name string, sum []byte) {
	if sum != nil {
		h.Set(name, base64.StdEncoding.EncodeToString(sum))
	}
}

// writeTier says the tier, and whether it was chosen or is the account's.
func writeTier(h http.Header, tier string) {
	if tier == "" {
		h.Set("X-Ms-Access-Tier-Inferred", "true")
	}
	h.Set("X-Ms-Access-Tier", firstOf(tier, "Hot"))
}
