"""The types of the public interface; ``__init__.py`` says where each name lives."""

from fleetfront.datasets import load_images as load_images
from fleetfront.deploy.bundle.manifest import read_manifest as read_manifest
from fleetfront.deploy.formats import FORMATS as FORMATS
from fleetfront.errors import BarMissed as BarMissed
from fleetfront.errors import DeviceError as DeviceError
from fleetfront.errors import FleetfrontError as FleetfrontError
from fleetfront.errors import InputError as InputError
from fleetfront.errors import MissingDependency as MissingDependency
from fleetfront.pipelines.compare import compare_results as compare_results
from fleetfront.pipelines.deploy.deploy import Pick as Pick
from fleetfront.pipelines.deploy.deploy import Recipe as Recipe
from fleetfront.pipelines.deploy.deploy import Weights as Weights
from fleetfront.pipelines.deploy.deploy import deploy_picks as deploy_picks
from fleetfront.pipelines.deploy.picks import pick_arch as pick_arch
from fleetfront.pipelines.deploy.picks import pick_knee as pick_knee
from fleetfront.pipelines.deploy.picks import pick_shared as pick_shared
from fleetfront.pipelines.deploy.picks import pick_spread as pick_spread
from fleetfront.pipelines.deploy.picks import pick_within as pick_within
from fleetfront.pipelines.fit.fit import fit_report as fit_report
from fleetfront.pipelines.fit.fit import fit_target as fit_target
from fleetfront.pipelines.generate import generate as generate
from fleetfront.pipelines.generate import open_generator as open_generator
from fleetfront.pipelines.inspect import Inspection as Inspection
from fleetfront.pipelines.inspect import inspect as inspect
from fleetfront.pipelines.knowledge.cost_models import device_models as device_models
from fleetfront.pipelines.knowledge.device_model import DeviceModel as DeviceModel
from fleetfront.pipelines.measure.profile import Budget as Budget
from fleetfront.pipelines.measure.profile import measure_networks as measure_networks
from fleetfront.pipelines.measure.profile import parse_budget as parse_budget
from fleetfront.pipelines.measure.profile import profile_space as profile_space
from fleetfront.pipelines.measure.single_file import profile_file as profile_file
from fleetfront.pipelines.predict import predict_archs as predict_archs
from fleetfront.pipelines.predict_files import FilePrediction as FilePrediction
from fleetfront.pipelines.predict_files import Predictions as Predictions
from fleetfront.pipelines.predict_files import predict as predict
from fleetfront.pipelines.search import SearchOptions as SearchOptions
from fleetfront.pipelines.search import search as search
from fleetfront.pipelines.search import search_space as search_space
from fleetfront.predictors.accuracy.sources import load_accuracy as load_accuracy
from fleetfront.predictors.base import AccuracyModel as AccuracyModel
from fleetfront.predictors.base import CostModel as CostModel
from fleetfront.profilers.records import Measurement as Measurement
from fleetfront.profilers.records import Role as Role
from fleetfront.profilers.store.store import Store as Store
from fleetfront.quantities import LATENCY as LATENCY
from fleetfront.quantities import Clock as Clock
from fleetfront.quantities import Estimate as Estimate
from fleetfront.quantities import Metric as Metric
from fleetfront.quantities import Tier as Tier
from fleetfront.report.gather import gather_report as gather_report
from fleetfront.report.page.page import write_page as write_page
from fleetfront.search.fronts_file import load_fronts as load_fronts
from fleetfront.search.problem import Problem as Problem
from fleetfront.search.problem import ProblemTarget as ProblemTarget
from fleetfront.search.results import Fronts as Fronts
from fleetfront.search.strategies.surrogate import SurrogateSettings as SurrogateSettings
from fleetfront.spaces.base import SearchSpace as SearchSpace
from fleetfront.spaces.catalogue import load_space as load_space
from fleetfront.spaces.supernet.checkpoints import load_supernet as load_supernet
from fleetfront.targets import Target as Target
from fleetfront.workspace import Workspace as Workspace

__version__: str

def call_verb(verb: str, *arguments: object, **options: object) -> object: ...
