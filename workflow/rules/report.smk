rule report:
    input:
        params="results/{campaign}/params/report.json",
        evaluations=evaluation_files(),
        sets=set_files("distilled.safetensors"),
        records=set_files("distilled.record.json"),
        histories=set_files("history.csv", "distill"),
    output:
        page="results/{campaign}/report.html",
        results=report("results/{campaign}/tables/results.csv", caption="../report/results.rst", category="Tables"),
        verdicts=report("results/{campaign}/tables/verdicts.csv", caption="../report/verdicts.rst", category="Tables"),
        ranking=report("results/{campaign}/tables/ranking.csv", caption="../report/ranking.rst", category="Tables"),
        texts=[
            "results/{campaign}/tables/results.md",
            "results/{campaign}/tables/results.tex",
            "results/{campaign}/tables/verdicts.md",
            "results/{campaign}/tables/paper.csv",
            "results/{campaign}/tables/paper.md",
            "results/{campaign}/tables/paper.tex",
            "results/{campaign}/tables/ranking.md",
            "results/{campaign}/tables/continual.csv",
            "results/{campaign}/tables/continual.md",
            "results/{campaign}/tables/search.csv",
            "results/{campaign}/tables/search.md",
        ],
        metrics="results/{campaign}/tables/metrics.json",
        record="results/{campaign}/tables/metrics.record.json",
        paper=report("results/{campaign}/figures/paper.svg", caption="../report/paper.rst", category="Figures"),
        grid=report("results/{campaign}/figures/grid.png", caption="../report/grid.rst", category="Figures"),
        accuracy=report("results/{campaign}/figures/accuracy.svg", caption="../report/accuracy.rst", category="Figures"),
        history=report("results/{campaign}/figures/history.svg", caption="../report/history.rst", category="Figures"),
        continual=report(
            "results/{campaign}/figures/continual.svg", caption="../report/continual.rst", category="Figures"
        ),
        search=report("results/{campaign}/figures/search.svg", caption="../report/search.rst", category="Figures"),
        pictures=[
            "results/{campaign}/figures/paper.png",
            "results/{campaign}/figures/accuracy.png",
            "results/{campaign}/figures/history.png",
            "results/{campaign}/figures/continual.png",
            "results/{campaign}/figures/search.png",
        ],
    log:
        "results/{campaign}/logs/report.log",
    threads: 1
    shell:
        "python workflow/run_stage.py report -- ncfm report --params {input.params} --results results/{wildcards.campaign} > {log} 2>&1"
