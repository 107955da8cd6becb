package environment

import "regexp"

var (
	urlUser    = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)[^/\s'"<>]*@`)
	urlSecret  = regexp.MustCompile(`(?i)([?&;](?:sig|token|access_token|api_?key|password|secret|code)=)[^&\s'"<>]+`)
	ansiEscape = regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]`)
)

// redact takes credentials out of every URL in the text. All that leaves the
// package as a log line, a report, a label or an error goes through it.
func redact(text string) string {
	text = urlUser.ReplaceAllString(text, "${1}***@")
	return urlSecret.ReplaceAllString(text, "${1}***")
}
