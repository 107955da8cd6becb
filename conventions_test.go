package lapis_test

import (
	"go/ast"
	"go/token"
	"go/types"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestEveryPackageSaysWhatItIsInOnePlace(t *testing.T) {
	for _, p := range sources(t) {
		var documented []string
		for name, file := range p.files {
			if file.Doc == nil {
				continue
			}
			documented = append(documented, name)
			want := "Package " + file.Name.Name + " "
			if file.Name.Name == "main" {
				want = "Command " + path.Base(p.dir) + " "
			}
			if !strings.HasPrefix(file.Doc.Text(), want) {
				t.Errorf("%s: the package comment does not begin with %q", name, want)
			}
		}
		if len(p.files) > 0 && len(documented) != 1 {
			slices.Sort(documented)
			t.Errorf("%s has %d package comments, want 1: %v", p.dir, len(documented), documented)
		}
	}
}

// A name that could stand over anything says nothing of what is below it.
func TestNoPackageIsADrawerForOddments(t *testing.T) {
	odd := regexp.MustCompile(`(?i)^(utils?|common|types|models?|helpers?|misc|shared|base|core|internal|.*manager)$`)
	for _, p := range sources(t) {
		for element := range strings.SplitSeq(p.dir, "/") {
			if odd.MatchString(element) {
				t.Errorf("%s: %q does not say what the package owns", p.dir, element)
			}
		}
	}
}

func TestNothingRunsBeforeMain(t *testing.T) {
	for _, p := range sources(t) {
		for _, files := range []map[string]*ast.File{p.files, p.tests} {
			for name, file := range files {
				for _, decl := range file.Decls {
					if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
						t.Errorf("%s has an init function", name)
					}
				}
			}
		}
	}
}

// Package variables are constants that Go cannot spell: they are never written,
// and hold nothing that changes by itself.
func TestPackageVariablesAreNeverWritten(t *testing.T) {
	for _, p := range sources(t) {
		uses := p.uses()
		for _, file := range p.files {
			for _, node := range writes(file) {
				if name := packageVariable(node, uses); name != "" {
					t.Errorf("%s: the package variable %s is written", p.fset.Position(node.Pos()), name)
				}
			}
			for _, spec := range packageVariables(file) {
				if kind := mutableKind(spec); kind != "" {
					t.Errorf("%s: a package variable of type %s", p.fset.Position(spec.Pos()), kind)
				}
			}
		}
	}
}

// writes lists the expressions that a file assigns to, steps, deletes from or clears.
func writes(file *ast.File) []ast.Expr {
	var found []ast.Expr
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok != token.DEFINE {
				found = append(found, n.Lhs...)
			}
		case *ast.IncDecStmt:
			found = append(found, n.X)
		case *ast.RangeStmt:
			if n.Tok == token.ASSIGN {
				found = append(found, n.Key)
			}
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.Ident); ok && (f.Name == "delete" || f.Name == "clear") && len(n.Args) > 0 {
				found = append(found, n.Args[0])
			}
		}
		return true
	})
	return found
}

// packageVariable returns the name of the package variable that an expression
// is, or is a part of.
func packageVariable(e ast.Expr, uses map[*ast.Ident]types.Object) string {
	for {
		switch x := e.(type) {
		case *ast.IndexExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.SelectorExpr:
			if id, ok := x.X.(*ast.Ident); ok {
				if _, ok := uses[id].(*types.PkgName); ok {
					return id.Name + "." + x.Sel.Name
				}
			}
			e = x.X
		case *ast.Ident:
			v, ok := uses[x].(*types.Var)
			if ok && v.Pkg() != nil && v.Parent() == v.Pkg().Scope() {
				return x.Name
			}
			return ""
		default:
			return ""
		}
	}
}

func packageVariables(file *ast.File) []*ast.ValueSpec {
	var found []*ast.ValueSpec
	for _, decl := range file.Decls {
		if g, ok := decl.(*ast.GenDecl); ok && g.Tok == token.VAR {
			for _, spec := range g.Specs {
				found = append(found, spec.(*ast.ValueSpec))
			}
		}
	}
	return found
}

// mutableKind names the type of a variable that changes without an assignment.
func mutableKind(spec *ast.ValueSpec) string {
	kinds := []ast.Expr{spec.Type}
	for _, value := range spec.Values {
		if unary, ok := value.(*ast.UnaryExpr); ok {
			value = unary.X
		}
		switch v := value.(type) {
		case *ast.CompositeLit:
			kinds = append(kinds, v.Type)
		case *ast.CallExpr:
			if f, ok := v.Fun.(*ast.Ident); ok && f.Name == "make" {
				kinds = append(kinds, v.Args[0])
			}
		}
	}
	for _, kind := range kinds {
		if index, ok := kind.(*ast.IndexExpr); ok {
			kind = index.X
		}
		switch k := kind.(type) {
		case *ast.ChanType:
			return "channel"
		case *ast.SelectorExpr:
			if id, ok := k.X.(*ast.Ident); ok && (id.Name == "sync" || id.Name == "atomic") {
				return id.Name + "." + k.Sel.Name
			}
		}
	}
	return ""
}

// The sizes beyond which code stops being read.
const (
	longestFile     = 700
	longestFunction = 120
)

func TestFilesAndFunctionsStayReadable(t *testing.T) {
	for _, p := range sources(t) {
		for name, file := range p.files {
			if n := p.fset.Position(file.End()).Line; n > longestFile {
				t.Errorf("%s has %d lines, more than %d", name, n, longestFile)
			}
			for _, decl := range file.Decls {
				f, ok := decl.(*ast.FuncDecl)
				if !ok {
					continue
				}
				from, to := p.fset.Position(f.Pos()), p.fset.Position(f.End())
				if n := to.Line - from.Line + 1; n > longestFunction {
					t.Errorf("%s: %s has %d lines, more than %d", from, f.Name.Name, n, longestFunction)
				}
			}
		}
	}
}
