package dataplane

import (
	"encoding/xml"
	"net/http"
)

func (h *Handler) getAccountInfo(w *response, q *request) error {
	head := w.Header()
	head.Set("X-Ms-Sku-Name", firstOf(q.account.SKU, "Standard_LRS"))
	head.Set("X-Ms-Account-Kind", firstOf(q.account.Kind, "StorageV2"))
	head.Set("X-Ms-Is-Hns-Enabled", "false")
	w.WriteHeader(http.StatusOK)
	return nil
}

// serviceProperties is what a new account of Azure has, of which nothing can
// be changed here.
type serviceProperties struct {
	XMLName       xml.Name `xml:"StorageServiceProperties"`
	Logging       logging
	HourMetrics   metrics
	MinuteMetrics metrics
	Cors          struct{}
	DeleteRetentionPolicy,
	StaticWebsite enabled
}

type enabled struct{ Enabled bool }

type logging struct {
	Version             string
	Delete, Read, Write bool
	RetentionPolicy     enabled
}

type metrics struct {
	Version         string
	Enabled         bool
	RetentionPolicy enabled
}

func (h *Handler) getServiceProperties(w *response, _ *request) error {
	return writeXML(w, serviceProperties{
		Logging: logging{Version: "1.0"}, HourMetrics: metrics{Version: "1.0"}, MinuteMetrics: metrics{Version: "1.0"},
	})
}
