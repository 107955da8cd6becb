package dataplane_test

import (
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
	"testing"
)

type listing struct {
	Blobs struct {
		Blob []struct {
			Name     string
			Metadata struct {
				Inner string `xml:",innerxml"`
			}
		}
		BlobPrefix []struct{ Name string }
	}
	Containers struct {
		Container []struct{ Name string }
	}
	NextMarker string
}

func (w *world) list(path string) (l listing) {
	w.t.Helper()
	body := text(w.must(200, get(path)))
	if err := xml.Unmarshal([]byte(body), &l); err != nil {
		w.t.Fatalf("%v in %s", err, body)
	}
	return l
}

func TestContainerLifecycle(t *testing.T) {
	w := newWorld(t)
	w.must(404, get("/data?restype=container"))
	w.must(201, call{method: "PUT", path: "/data?restype=container", header: map[string]string{"x-ms-meta-a": "b"}})
	w.must(409, call{method: "PUT", path: "/data?restype=container"})
	res := w.must(200, call{method: "HEAD", path: "/data?restype=container"})
	if meta(res, "a") != "b" || res.Header.Get("x-ms-lease-state") != "available" {
		t.Errorf("headers %v", res.Header)
	}
	w.must(200, call{method: "PUT", path: "/data?restype=container&comp=metadata", header: map[string]string{"x-ms-meta-c": "d"}})
	if res := w.must(200, get("/data?restype=container&comp=metadata")); meta(res, "a") != "" || meta(res, "c") != "d" {
		t.Errorf("metadata %v", res.Header)
	}
	if body := text(w.must(200, get("/data?restype=container&comp=acl"))); !strings.Contains(body, "<SignedIdentifiers>") {
		t.Errorf("acl %s", body)
	}
	w.put("/data/b", "x")
	w.must(202, call{method: "DELETE", path: "/data?restype=container"})
	w.must(404, get("/data/b"))
	w.container("data")
	w.must(404, get("/data/b"))
	w.must(409, call{method: "PUT", path: "/pub?restype=container", header: map[string]string{"x-ms-blob-public-access": "blob"}})
}

func TestListPagesAreWholeAndInOrder(t *testing.T) {
	w := newWorld(t)
	w.container("data")
	var want []string
	for i := range 25 {
		name := fmt.Sprintf("d%d/f%02d", i%3, i)
		want = append(want, name)
		w.put("/data/"+name, "x")
	}
	slices.Sort(want)
	for _, size := range []int{1, 4, 24, 25, 26} {
		var got []string
		for marker, pages := "", 0; ; pages++ {
			l := w.list("/data?restype=container&comp=list&" + query("maxresults", fmt.Sprint(size), "marker", marker))
			for _, b := range l.Blobs.Blob {
				got = append(got, b.Name)
			}
			if marker = l.NextMarker; marker == "" {
				break
			}
			if pages > 30 {
				t.Fatal("the list does not end")
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("pages of %d: %v", size, got)
		}
	}
}

func TestListGroupsByDelimiter(t *testing.T) {
	w := newWorld(t)
	w.container("data")
	for _, name := range []string{"a", "d/1", "d/2", "d/e/3", "f", "g/4"} {
		w.put("/data/"+name, "x")
	}
	for _, c := range []struct{ prefix, want string }{
		{"", "a,f|d/,g/"},
		{"d/", "d/1,d/2|d/e/"},
		{"g", "|g/"},
		{"zz", "|"},
	} {
		for _, size := range []string{"1", "2", "5000"} {
			var names, prefixes []string
			for marker, more := "", true; more; more = marker != "" {
				l := w.list("/data?restype=container&comp=list&" + query("prefix", c.prefix, "delimiter", "/", "maxresults", size, "marker", marker))
				for _, b := range l.Blobs.Blob {
					names = append(names, b.Name)
				}
				for _, p := range l.Blobs.BlobPrefix {
					prefixes = append(prefixes, p.Name)
				}
				marker = l.NextMarker
			}
			if got := strings.Join(names, ",") + "|" + strings.Join(prefixes, ","); got != c.want {
				t.Errorf("prefix %q, pages of %s: %s, not %s", c.prefix, size, got, c.want)
			}
		}
	}
}

func TestListIncludes(t *testing.T) {
	w := newWorld(t)
	w.container("data")
	w.must(201, call{method: "PUT", path: "/data/b", header: map[string]string{"x-ms-blob-type": "BlockBlob", "x-ms-meta-k": "v<"}})
	w.must(201, call{method: "PUT", path: "/data/a?comp=block&blockid=MDAwMQ==", body: "x"})
	l := w.list("/data?restype=container&comp=list&include=metadata,snapshots")
	if len(l.Blobs.Blob) != 1 || l.Blobs.Blob[0].Metadata.Inner != "<k>v&lt;</k>" {
		t.Errorf("list %+v", l)
	}
	l = w.list("/data?restype=container&comp=list&include=uncommittedblobs")
	if len(l.Blobs.Blob) != 2 || l.Blobs.Blob[0].Name != "a" {
		t.Errorf("list %+v", l)
	}
	w.must(400, get("/data?restype=container&comp=list&include=everything"))
	w.must(400, get("/data?restype=container&comp=list&maxresults=0"))
	w.must(400, get("/data?restype=container&comp=list&marker=x"))
}

func TestServiceOperations(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"one", "two", "three"} {
		w.container(name)
	}
	l := w.list("/?comp=list&maxresults=2")
	if len(l.Containers.Container) != 2 || l.Containers.Container[0].Name != "one" || l.NextMarker == "" {
		t.Errorf("list %+v", l)
	}
	l = w.list("/?comp=list&maxresults=2&marker=" + l.NextMarker)
	if len(l.Containers.Container) != 1 || l.Containers.Container[0].Name != "two" || l.NextMarker != "" {
		t.Errorf("list %+v", l)
	}
	if l = w.list("/?comp=list&prefix=t"); len(l.Containers.Container) != 2 {
		t.Errorf("list %+v", l)
	}
	if body := text(w.must(200, get("/?restype=service&comp=properties"))); !strings.Contains(body, "<StorageServiceProperties>") {
		t.Error(body)
	}
	for _, path := range []string{"/", "/one", "/one/b"} {
		res := w.must(200, call{method: "HEAD", path: path + "?restype=account&comp=properties"})
		if res.Header.Get("x-ms-sku-name") != "Standard_LRS" || res.Header.Get("x-ms-account-kind") != "StorageV2" {
			t.Errorf("%s: %v", path, res.Header)
		}
	}
	w.must(501, get("/?restype=service&comp=stats"))
}
