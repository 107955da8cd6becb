package scoring

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const benchBody = `{"data": [[1,2,3,4,5,6,7,8,9,10],[10,9,8,7,6,5,4,3,2,1]]}`

// BenchmarkPool is the queue, the frames and the script; BenchmarkFront has all
// but the client's socket.
func BenchmarkPool(b *testing.B) {
	p := started(b, articleLike, func(c *PoolConfig) { c.MaxConcurrent = 64 })
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := p.Score(b.Context(), request(benchBody)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkFront(b *testing.B) {
	p := started(b, articleLike, func(c *PoolConfig) { c.MaxConcurrent = 64 })
	front := &Front{}
	endpoint := Endpoint{Name: "e", Authorize: onlyTestKey, Deployments: map[string]*Pool{"blue": p}, Traffic: map[string]int{"blue": 100}}
	if err := front.Set(host, endpoint); err != nil {
		b.Fatal(err)
	}
	b.SetParallelism(8)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			req := httptest.NewRequest(http.MethodPost, "https://"+host+"/score", strings.NewReader(benchBody))
			req.Header.Set("Authorization", "Bearer "+testKey)
			req.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			if front.ServeHTTP(w, req); w.Code != http.StatusOK {
				b.Fatal(w.Code, w.Body)
			}
		}
	})
}
