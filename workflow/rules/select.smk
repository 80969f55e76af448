rule select:
    input:
        params="results/{campaign}/params/select/{dataset}/ipc{ipc}/{method}.json",
        train="results/{campaign}/datasets/{dataset}/train.safetensors",
        extractors=extractors_of,
    output:
        set="results/{campaign}/sets/{dataset}/ipc{ipc}/{method}/seed{seed}/distilled.safetensors",
        grid=report(
            "results/{campaign}/sets/{dataset}/ipc{ipc}/{method}/seed{seed}/grid.png",
            caption="../report/set.rst",
            category="Sets",
            labels={"data set": "{dataset}", "IPC": "{ipc}", "method": "{method}", "seed": "{seed}"},
        ),
        record="results/{campaign}/sets/{dataset}/ipc{ipc}/{method}/seed{seed}/distilled.record.json",
    log:
        "results/{campaign}/logs/select/{dataset}-ipc{ipc}-{method}-seed{seed}.log",
    wildcard_constraints:
        method=methods_of("select"),
    threads: 1
    resources:
        gpu=lambda wildcards, input: GPU if input.extractors else 0,
    params:
        folder=subpath(output.set, parent=True),
        # Two stages in dvc.yaml, where a stage cannot have an input only sometimes.
        stage=lambda wildcards, input: "select-with-extractors" if input.extractors else "select",
        extractors=lambda wildcards, input: f" --extractors {input.extractors}" if input.extractors else "",
    shell:
        "python workflow/run_stage.py {params.stage}@{wildcards.dataset}-ipc{wildcards.ipc}-{wildcards.method}-seed{wildcards.seed} --"
        " ncfm select --params {input.params} --data results/{wildcards.campaign}/datasets/{wildcards.dataset}{params.extractors}"
        " --ipc {wildcards.ipc} --method {wildcards.method} --seed {wildcards.seed}"
        " --out {params.folder} > {log} 2>&1"
