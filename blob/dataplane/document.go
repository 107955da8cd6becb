package dataplane

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"lapis/blob"
	"lapis/fault"
)

// writeXML answers 200 with a document.
func writeXML(w *response, doc any) error {
	var buf bytes.Buffer
	buf.WriteString(xml.Header)
	if err := xml.NewEncoder(&buf).Encode(doc); err != nil {
		return fault.Wrap(err, "writing the answer")
	}
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("Content-Length", strconv.Itoa(buf.Len()))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(buf.Bytes())
	return nil
}

// metadataXML is an element per name.
type metadataXML blob.Metadata

// MarshalXML writes the names in order.
func (m metadataXML) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	if err := e.EncodeToken(start); err != nil {
		return err
	}
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := e.EncodeElement(m[name], xml.StartElement{Name: xml.Name{Local: name}}); err != nil {
			return err
		}
	}
	return e.EncodeToken(start.End())
}

// nameXML is a blob's name; one that XML cannot hold is percent-encoded and says so.
type nameXML struct {
	Encoded string `xml:",attr,omitempty"`
	Text    string `xml:",chardata"`
}

func encodeName(name string) nameXML {
	for _, r := range name {
		if r == utf8.RuneError || r == 0xFFFE || r == 0xFFFF || (r < ' ') {
			return nameXML{Encoded: "true", Text: url.PathEscape(name)}
		}
	}
	return nameXML{Text: name}
}

// containerList answers List Containers.
type containerList struct {
	XMLName         xml.Name `xml:"EnumerationResults"`
	ServiceEndpoint string   `xml:",attr"`
	Prefix          string   `xml:",omitempty"`
	Marker          string   `xml:",omitempty"`
	MaxResults      int      `xml:",omitempty"`
	Containers      containerItems
	NextMarker      string
}

type containerItems struct {
	Container []containerXML
}

type containerXML struct {
	Name       string
	Properties struct {
		LastModified                string `xml:"Last-Modified"`
		Etag                        string
		LeaseStatus                 string
		LeaseState                  string
		DefaultEncryptionScope      string
		DenyEncryptionScopeOverride bool
		HasImmutabilityPolicy       bool
		HasLegalHold                bool
	}
	Metadata *metadataXML `xml:",omitempty"`
}

func drawContainer(c blob.Container, withMetadata bool) containerXML {
	var x containerXML
	x.Name = c.Name
	p := &x.Properties
	p.LastModified, p.Etag = httpTime(c.Modified), `"`+c.ETag+`"`
	p.LeaseStatus, p.LeaseState = "unlocked", "available"
	p.DefaultEncryptionScope = accountKeyScope
	if withMetadata {
		x.Metadata = (*metadataXML)(&c.Metadata)
	}
	return x
}

// blobList answers List Blobs.
type blobList struct {
	XMLName         xml.Name `xml:"EnumerationResults"`
	ServiceEndpoint string   `xml:",attr"`
	ContainerName   string   `xml:",attr"`
	Prefix          string   `xml:",omitempty"`
	Marker          string   `xml:",omitempty"`
	MaxResults      int      `xml:",omitempty"`
	Delimiter       string   `xml:",omitempty"`
	Blobs           blobItems
	NextMarker      string
}

// blobItems keeps blobs and prefixes in one order.
type blobItems struct {
	Items []any // blobXML or prefixXML
}

type prefixXML struct {
	XMLName xml.Name `xml:"BlobPrefix"`
	Name    nameXML
}

type blobXML struct {
	XMLName    xml.Name `xml:"Blob"`
	Name       nameXML
	Properties blobPropertiesXML
	Metadata   *metadataXML `xml:",omitempty"`
}

type blobPropertiesXML struct {
	CreationTime       string `xml:"Creation-Time,omitempty"`
	LastModified       string `xml:"Last-Modified,omitempty"`
	Etag               string `xml:",omitempty"`
	ContentLength      int64  `xml:"Content-Length"`
	ContentType        string `xml:"Content-Type"`
	ContentEncoding    string `xml:"Content-Encoding"`
	ContentLanguage    string `xml:"Content-Language"`
	ContentMD5         string `xml:"Content-MD5"`
	CacheControl       string `xml:"Cache-Control"`
	ContentDisposition string `xml:"Content-Disposition"`
	BlobType           string
	AccessTier         string
	AccessTierInferred bool   `xml:",omitempty"`
	LeaseStatus        string `xml:",omitempty"`
	LeaseState         string `xml:",omitempty"`
	CopyID             string `xml:"CopyId,omitempty"`
	CopySource         string `xml:",omitempty"`
	CopyStatus         string `xml:",omitempty"`
	CopyProgress       string `xml:",omitempty"`
	CopyCompletionTime string `xml:",omitempty"`
	ServerEncrypted    bool
}

func drawBlob(b blob.Blob, include map[string]bool) blobXML {
	x := blobXML{Name: encodeName(b.Name)}
	p := &x.Properties
	p.BlobType, p.ServerEncrypted = "BlockBlob", true
	p.ContentType, p.ContentEncoding, p.ContentLanguage = b.ContentType, b.ContentEncoding, b.ContentLanguage
	p.CacheControl, p.ContentDisposition = b.CacheControl, b.ContentDisposition
	p.AccessTier, p.AccessTierInferred = firstOf(b.Tier, "Hot"), b.Tier == ""
	if b.Uncommitted {
		return x
	}
	p.CreationTime, p.LastModified, p.Etag = httpTime(b.Created), httpTime(b.Modified), b.ETag
	p.ContentLength = b.Size
	p.ContentMD5 = base64.StdEncoding.EncodeToString(b.ContentMD5)
	p.LeaseStatus, p.LeaseState = "unlocked", "available"
	if b.Copy != nil && include["copy"] {
		size := strconv.FormatInt(b.Size, 10)
		p.CopyID, p.CopySource, p.CopyStatus = b.Copy.ID, b.Copy.Source, "success"
		p.CopyProgress, p.CopyCompletionTime = size+"/"+size, httpTime(b.Copy.Finished)
	}
	if include["metadata"] {
		x.Metadata = (*metadataXML)(&b.Metadata)
	}
	return x
}

// blockListXML answers Get Block List.
type blockListXML struct {
	XMLName     xml.Name    `xml:"BlockList"`
	Committed   *blockItems `xml:"CommittedBlocks"`
	Uncommitted *blockItems `xml:"UncommittedBlocks"`
}

type blockItems struct {
	Block []blockXML
}

type blockXML struct {
	Name string
	Size int64
}

func drawBlocks(list []blob.Block) *blockItems {
	out := &blockItems{Block: make([]blockXML, len(list))}
	for i, b := range list {
		out.Block[i] = blockXML{b.ID, b.Size}
	}
	return out
}

// A list of 50,000 blocks with ids of 88 characters has about 6 MB.
const maxBlockListBody = 16 << 20

// readBlockList reads the body of Put Block List.
func readBlockList(body io.Reader) ([]blob.BlockRef, error) {
	dec := xml.NewDecoder(body)
	var refs []blob.BlockRef
	depth, done := 0, false
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) && done {
			return refs, nil
		}
		if err != nil {
			return nil, badXML("it is not well formed")
		}
		switch t := tok.(type) {
		case xml.StartElement:
			if depth == 0 && (done || t.Name.Local != "BlockList") {
				return nil, badXML("its root must be one <BlockList>")
			}
			if depth == 0 {
				depth = 1
				continue
			}
			ref, err := readBlockRef(dec, t)
			if err != nil {
				return nil, err
			}
			refs = append(refs, ref)
		case xml.EndElement:
			depth, done = 0, true
		case xml.CharData:
			if len(bytes.TrimSpace(t)) > 0 {
				return nil, badXML("it has text between its elements")
			}
		case xml.Directive:
			return nil, badXML("it has a document type")
		}
	}
}

func readBlockRef(dec *xml.Decoder, start xml.StartElement) (blob.BlockRef, error) {
	var ref blob.BlockRef
	switch start.Name.Local {
	case "Latest":
		ref.From = blob.Latest
	case "Committed":
		ref.From = blob.Committed
	case "Uncommitted":
		ref.From = blob.Uncommitted
	default:
		return ref, badXML("a block is named by <Latest>, <Committed> or <Uncommitted>")
	}
	var id string
	if err := dec.DecodeElement(&id, &start); err != nil {
		return ref, badXML("a block's element is not well formed")
	}
	ref.ID = strings.TrimSpace(id)
	return ref, nil
}

func badXML(why string) error {
	return fault.E(fault.Invalid, "InvalidXmlDocument",
		"XML specified is not syntactically valid or not a block list: %s.", why)
}
