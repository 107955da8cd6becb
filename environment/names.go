package environment

import "strings"

// pypiName gives the name under which the Python package index has a conda
// package. With ok false there is no such package, and why says what became of it.
func pypiName(conda string) (name, why string, ok bool) {
	name = normalName(conda)
	if renamed := renames(name); renamed != "" {
		return renamed, "", true
	}
	if why := notPython(name); why != "" {
		return "", why, false
	}
	return name, "", true
}

// renames lists conda packages that have another name in the Python package index.
func renames(conda string) string {
	switch conda {
	case "pytorch", "pytorch-cpu", "pytorch-gpu":
		return "torch"
	case "torchvision-cpu":
		return "torchvision"
	case "opencv", "py-opencv", "opencv-headless":
		return "opencv-python-headless"
	case "py-xgboost", "py-xgboost-cpu", "py-xgboost-gpu":
		return "xgboost"
	case "tensorflow-base", "tensorflow-gpu", "tensorflow-mkl", "tensorflow-eigen":
		return "tensorflow"
	case "matplotlib-base":
		return "matplotlib"
	case "seaborn-base":
		return "seaborn"
	case "dask-core":
		return "dask"
	case "msgpack-python":
		return "msgpack"
	case "pytables":
		return "tables"
	case "python-graphviz":
		return "graphviz"
	case "faiss", "faiss-gpu":
		return "faiss-cpu"
	case "psycopg2":
		return "psycopg2-binary"
	case "ruamel-yaml":
		return "ruamel.yaml"
	case "geopandas-base":
		return "geopandas"
	case "jupyterlab-server-base":
		return "jupyterlab-server"
	case "importlib-metadata-base":
		return "importlib-metadata"
	case "plotly-base":
		return "plotly"
	case "black-jupyter":
		return "black"
	case "pyarrow-core", "pyarrow-all":
		return "pyarrow"
	case "polars-lts-cpu":
		return "polars"
	case "sentencepiece-python":
		return "sentencepiece"
	case "python-flatbuffers":
		return "flatbuffers"
	case "python-duckdb":
		return "duckdb"
	case "python-kaleido":
		return "kaleido"
	case "python-xxhash":
		return "xxhash"
	case "python-lmdb":
		return "lmdb"
	case "python-levenshtein":
		return "levenshtein"
	case "pyqt":
		return "pyqt5"
	case "pydantic-base":
		return "pydantic"
	case "mlflow-ui":
		return "mlflow"
	case "uvicorn-standard":
		return "uvicorn"
	case "onnxruntime-cpp":
		return "onnxruntime"
	case "ray-core", "ray-default", "ray-all":
		return "ray"
	case "shap-base":
		return "shap"
	case "statsmodels-base":
		return "statsmodels"
	}
	return ""
}

// notPython says why a conda package is left out, or "" for one that is not.
func notPython(name string) string {
	const (
		interpreter = "the interpreter is chosen from this machine"
		tool        = "a tool of the build, not of the environment"
		native      = "a native library: Python wheels bring their own"
		program     = "a program, not a Python package: install it on the machine if the script calls it"
		selector    = "a conda selector without content"
		accelerator = "a GPU library: wheels bring their own where they need it"
	)
	switch name {
	case "python", "python-abi", "pypy", "python-freethreading":
		return interpreter
	case "pip", "conda", "mamba", "micromamba", "conda-build", "anaconda":
		return tool
	case "openssl", "ca-certificates", "zlib", "zlib-ng", "xz", "bzip2", "readline", "sqlite", "tk", "ncurses", "ld-impl-linux-64",
		"ld-impl-linux-aarch64", "mkl", "mkl-service", "mkl-fft", "mkl-random", "blas", "openblas", "intel-openmp", "llvm-openmp", "tbb",
		"hdf5", "snappy", "zstd", "lz4-c", "icu", "krb5", "freetype", "jpeg", "zeromq", "yaml", "geos", "proj", "expat", "fontconfig",
		"arrow-cpp", "boost-cpp", "unixodbc", "gmp", "mpfr", "eigen", "fftw", "glib", "cairo", "pango", "tzdata", "abseil-cpp", "re2", "c-ares":
		return native
	case "gcc", "gxx", "gfortran", "make", "pkg-config", "compilers", "c-compiler", "cxx-compiler", "fortran-compiler", "binutils",
		"git", "curl", "wget", "nodejs", "openjdk", "ffmpeg", "graphviz", "tesseract", "poppler", "imagemagick", "openmpi", "mpich", "r-base":
		return program
	case "nomkl", "cpuonly", "pytorch-mutex", "blas-devel", "sysroot-linux-64", "kernel-headers-linux-64":
		return selector
	case "cudatoolkit", "cudnn", "nccl", "pytorch-cuda", "cutensor", "magma":
		return accelerator
	}
	switch {
	case strings.HasPrefix(name, "-"): // _libgcc_mutex and its kind
		return selector
	case strings.HasPrefix(name, "cuda-"):
		return accelerator
	case strings.HasPrefix(name, "r-"):
		return "an R package"
	case strings.HasPrefix(name, "gcc-"), strings.HasPrefix(name, "gxx-"), strings.HasPrefix(name, "gfortran-"), strings.HasPrefix(name, "binutils-"):
		return program
	case strings.HasPrefix(name, "lib") && !pythonLib(name):
		return native
	}
	return ""
}

// pythonLib names the Python packages whose names begin like native libraries.
func pythonLib(name string) bool {
	switch name {
	case "libclang", "librosa", "libcst", "libsass", "libtmux", "libusb1", "librt", "libarchive-c", "libvirt-python", "libsvm", "libretranslate", "libpysal":
		return true
	}
	return false
}
