package memory_test

import (
	"testing"

	"lapis/content"
	"lapis/content/contenttest"
	"lapis/content/memory"
)

func TestConformance(t *testing.T) {
	contenttest.Run(t, func(*testing.T) content.Store { return memory.New() })
}
